"""Back-off: which groups rest and for how long, and that an undone cut leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import Comb
from cpd.distill.backoff import BackOff
from cpd.distill.probe import Probe
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.measure.accuracy import accuracy
from cpd.tasks.task import Task

# A network that learns nothing: what a cut costs stays lost, and weights can be told from the dense ones.
STILL = {"steps": 40, "batch_size": 32, "lr": 0.0, "weight_decay": 0.0, "optimizer": "sgd", "warmup": 0.0, "evaluate_every": 40,
         "chunks": 4, "interval": 4, "criterion": "l2", "multiple": 4, "take_over": False}  # fmt: skip


@pytest.fixture(scope="module")
def learned(task: Task) -> nn.Module:
    from tests.distill.conftest import SmallNet

    torch.manual_seed(0)
    settings = TrainSettings(steps=150, lr=5e-3, batch_size=64, evaluate_every=150)
    return train(SmallNet().eval(), (torch.randn(2, 1, 8, 8),), task, settings).module


def test_a_group_rests_for_one_chance_then_two_then_four() -> None:
    back = BackOff(0.02, ["a", "b", "c"])
    back.undone(3, ["a"])
    assert [back.resting(event) for event in (3, 4)] == [{"a"}, set()]
    back.undone(5, ["a"])
    assert [back.resting(event) for event in (5, 6, 7)] == [{"a"}, {"a"}, set()]
    back.undone(8, ["a", "b"])
    assert [back.resting(event) for event in (8, 9, 11, 12)] == [{"a", "b"}, {"a"}, {"a"}, set()]
    again = BackOff(0.02, ["a", "b", "c"])
    again.load(back.state())
    assert again.state() == back.state()
    assert again.resting(9) == {"a"}


def test_where_every_group_would_rest_none_does_and_the_step_is_smaller() -> None:
    back = BackOff(0.02, ["a", "b"])
    assert back.goal(planned=0.5, now=1.0, stride=0.5) == 0.5
    back.undone(2, ["a", "b"])
    assert back.resting(2) == frozenset()
    assert back.goal(planned=0.25, now=1.0, stride=0.5) == pytest.approx(0.5)  # one stride instead of the two it lags
    back.undone(3, ["a", "b"])
    assert back.goal(planned=0.125, now=1.0, stride=0.5) == pytest.approx(0.5**0.5)
    back.stood()
    back.stood()
    assert back.goal(planned=0.125, now=1.0, stride=0.5) == pytest.approx(0.25)


def test_the_corridor_is_counted_in_points_below_the_teacher() -> None:
    back = BackOff(0.02, ["a"])
    assert [back.leaves(0.97, student) for student in (0.96, 0.95, 0.949, 0.99)] == [False, False, True, False]


def test_the_probe_is_always_the_same_images_spread_over_all(task: Task, learned: nn.Module) -> None:
    probe = Probe(task, 100, torch.device("cpu"))
    seen = [torch.cat([targets for _, targets in probe.val_batches(7)]) for _ in range(2)]
    assert torch.equal(*seen)
    assert len(seen[0]) == probe.val_images == 100
    whole = torch.cat([targets for _, targets in task.val_batches(500)])
    found = [images for images, _ in probe.val_batches(1)]
    last = torch.cat([images for images, _ in task.val_batches(500)])[-40:]
    assert any(
        bool((image == row).all()) for row in last for batch in found for image in batch
    )  # not the first hundred
    assert len(whole) == task.val_images
    hits = sum(int((learned(x).argmax(1) == y).sum()) for x, y in probe.val_batches(1))
    assert probe.metric_of(learned) == pytest.approx(hits / 100)


def test_an_undone_cut_leaves_no_trace_and_other_groups_are_tried(
    learned: nn.Module, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    comb = cpd.comb(learned, inputs)
    told = memory()
    settings = TrainSettings.from_dict({**STILL, "corridor": 0.05, "corridor_images": 120})
    result = train(learned, inputs, task, settings, told, comb, target={"macs": 0.3})
    undone, cuts = told.of("undo"), told.of("cut")
    assert undone
    assert result.plan is not None
    assert "left the corridor of 5 points" in result.plan.shortfall
    # What is handed over is the dense network cut once to the final widths: nothing of the undone cuts is left.
    truth = dict(cpd.prune(learned, comb, result.plan).named_parameters())
    mine = dict(result.module.named_parameters())
    assert truth.keys() == mine.keys()
    assert all(torch.equal(truth[name], mine[name]) for name in truth)
    others = 0
    for step, data in undone:
        tried = {cut["group"] for at, cut in cuts if at == step}
        before = {cut["group"] for at, cut in cuts if at == data["cut_step"]}
        assert before == set(data["groups"])
        others += bool(tried) and not tried & before  # unless every group would rest: then a smaller cut is tried
        assert data["metric"] < accuracy(learned, task) - 0.02
    assert others
    widths = {g.name: g.width for g in comb.groups if g.prunable}
    history = sorted([(s, 1, d) for s, d in cuts] + [(s, 0, d) for s, d in undone], key=lambda row: row[:2])
    lost: dict[tuple[int, str], int] = {}
    for step, is_cut, data in history:
        for group in [data["group"]] if is_cut else data["groups"]:
            if is_cut:
                lost[step, group] = data["removed"]
                widths[group] -= data["removed"]
                assert widths[group] == data["width"]
            else:
                widths[group] += lost[data["cut_step"], group]
    assert widths == {row.group: len(row.keep) for row in result.plan.groups if row.group in widths}
    probe = Probe(task, 120, torch.device("cpu"))
    assert probe.metric_of(result.module) >= probe.metric_of(learned) - 0.05 - 0.02  # batch norm drifts a little


def test_the_student_is_what_it_was_before_the_cut_weights_optimizer_and_average(
    learned: nn.Module, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    """A place is kept before every cut here, after the last one was judged: the same before and after an undone cut."""
    comb = cpd.comb(learned, inputs)
    row = {
        **STILL,
        "steps": 32,
        "lr": 1e-4,
        "optimizer": "adamw",
        "average": 0.5,
        "corridor": 0.01,
        "corridor_images": 60,
    }
    told = memory()
    train(learned, inputs, task, TrainSettings.from_dict(row), told, comb, target={"macs": 0.2})
    places = {step: state["student"] for step, state in told.saved if state["pending"]}
    pairs = [(data["cut_step"], step) for step, data in told.of("undo") if step in places]
    assert pairs
    for before, after in pairs:
        old, new = places[before], places[after]
        assert old["keep"] == new["keep"]
        for part in ("weights", "average"):
            assert all(torch.equal(old[part][name], new[part][name]) for name in old[part])
        assert old["optimizer"].keys() == new["optimizer"].keys()
        for name, moments in old["optimizer"].items():
            assert all(
                torch.equal(torch.as_tensor(v), torch.as_tensor(new["optimizer"][name][k])) for k, v in moments.items()
            )


def test_a_wide_corridor_changes_nothing_but_the_bookkeeping(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    settings = TrainSettings(steps=30, batch_size=32, chunks=6, evaluate_every=30, corridor=1.0, corridor_images=60)
    told = memory()
    result = train(model, inputs, task, settings, told, comb, target={"macs": 0.3})
    assert not told.of("undo")
    assert told.metrics[30, "cost/macs"] <= 0.3
    assert result.plan is not None
    assert not result.plan.shortfall


@pytest.mark.parametrize("stop_at", [5, 9, 14, 23])
def test_a_stopped_run_backs_off_as_one_that_was_not(
    learned: nn.Module, inputs: tuple[Tensor, ...], task: Task, memory: Any, stop_at: int
) -> None:
    comb = cpd.comb(learned, inputs)
    row = {
        **STILL,
        "lr": 1e-4,
        "optimizer": "adamw",
        "average": 0.5,
        "corridor": 0.03,
        "corridor_images": 60,
        "criterion": "fisher",
    }
    settings = TrainSettings.from_dict(row | {"steps": 30})
    calm = memory()
    whole = train(learned, inputs, task, settings, calm, comb, target={"macs": 0.3})
    assert calm.of("undo")
    told = memory(stop_at=stop_at)
    assert not train(learned, inputs, task, settings, told, comb, target={"macs": 0.3}).finished
    torch.manual_seed(999)
    again = train(learned, inputs, task, settings, told, comb, target={"macs": 0.3})
    assert whole.plan == again.plan
    mine, theirs = whole.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [event for event in calm.events if event[1] in ("cut", "undo")] == [
        event for event in told.events if event[1] in ("cut", "undo")
    ]
