"""The loop on real digits: it learns, it meets plans and targets, and a stopped run ends bit for bit as one that was not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.comb.comb import Comb
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import Trained, train
from cpd.errors import DeviceError, PlanError, RunError
from cpd.measure.accuracy import accuracy
from cpd.prune.plan import plan_ratios, uniform_plan
from cpd.tasks.task import Task

DENSE = TrainSettings(steps=120, lr=5e-3, batch_size=64, evaluate_every=60)
SHORT = TrainSettings(steps=24, lr=2e-3, batch_size=32, chunks=6, evaluate_every=8, average=0.9, cut_share=0.7)


def equal(a: Trained, b: Trained) -> bool:
    mine, theirs = a.module.state_dict(), b.module.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_it_learns_and_leaves_the_model_alone(
    model: nn.Module, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    told = memory()
    result = train(model, inputs, task, DENSE, told)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert result.finished
    assert result.last > 0.9  # ten classes: 0.1 by chance
    assert accuracy(result.module, task) == result.last  # what is reported is of what is handed over
    assert not result.module.training
    assert result.plan is None
    assert result.teacher is None
    losses = [told.metrics[step, "train/loss"] for step in (1, 120)]
    assert losses[1] < losses[0] / 3
    assert {name for _, name in told.metrics} >= {
        "train/lr",
        "train/images_per_s",
        "val/top1",
        "latency/ms_b1",
        "latency/ms_b32",
    }
    assert [step for step, _ in told.of("eval")] == [60, 120]
    assert told.of("finish")[0][1]["last"] == result.last


def test_a_plan_is_carried_out_exactly(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    plan = plan_ratios(comb, {g.name: 0.5 for g in comb.groups if g.prunable})
    told = memory()
    result = train(model, inputs, task, SHORT, told, comb, plan)
    assert result.plan == plan
    shapes = {k: v.shape for k, v in cpd.prune(model, comb, plan).state_dict().items()}
    assert {k: v.shape for k, v in result.module.state_dict().items()} == shapes
    assert accuracy(result.module, task) == result.last
    cuts = told.of("cut")
    assert max(step for step, _ in cuts) == round(24 * 0.7)
    widths: dict[str, int] = {g.name: g.width for g in comb.groups}
    for _, data in cuts:
        widths[data["group"]] -= data["removed"]
        assert widths[data["group"]] == data["width"]
    assert widths == {row.group: len(row.keep) for row in plan.groups}
    macs = [data["macs"] for _, data in cuts]
    assert macs == sorted(macs, reverse=True)
    assert told.metrics[24, "cost/macs"] == macs[-1]
    assert told.metrics[0, "teacher/top1"] == pytest.approx(accuracy(model, task))


@pytest.mark.parametrize("schedule, criterion", [("interval", "fisher"), ("few-step", "l2"), ("one-shot", "taylor")])
def test_a_target_is_met(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, schedule: str, criterion: str
) -> None:
    settings = TrainSettings(steps=20, batch_size=32, schedule=schedule, criterion=criterion, evaluate_every=20)
    told = memory()
    result = train(model, inputs, task, settings, told, comb, target={"macs": 0.3})
    assert result.plan is not None
    assert result.plan.target == {"macs": 0.3}
    assert 0.2 < told.metrics[20, "cost/macs"] <= 0.3
    state = cpd.prune(model, comb, result.plan).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in result.module.state_dict().items()}


@pytest.mark.parametrize("stop_at", [3, 7, 17])  # before a cut, between cuts, after the last
@pytest.mark.parametrize("towards", ["plan", "target"])
def test_a_stopped_run_ends_as_one_that_was_not(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, stop_at: int, towards: str
) -> None:
    goal: dict[str, Any] = {"plan": uniform_plan(comb, 0.5)} if towards == "plan" else {"target": {"macs": 0.3}}
    whole = train(model, inputs, task, SHORT, memory(), comb, **goal)
    told = memory(stop_at=stop_at)
    first = train(model, inputs, task, SHORT, told, comb, **goal)
    assert not first.finished
    assert first.step == stop_at
    torch.manual_seed(999)  # whatever the process did in between
    second = train(model, inputs, task, SHORT, told, comb, **goal)
    assert second.finished
    assert equal(whole, second)
    assert (whole.last, whole.best, whole.best_step) == (second.last, second.best, second.best_step)
    assert whole.plan == second.plan


def test_a_killed_run_repeats_the_steps_since_its_checkpoint(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    settings = TrainSettings(**(SHORT.to_dict() | {"checkpoint_s": 0.0}))  # a checkpoint after every step
    told = memory()
    whole = train(model, inputs, task, settings, told, comb, target={"macs": 0.3})
    first = dict(told.metrics)
    told.saved = [(step, state) for step, state in told.saved if step <= 10]
    again = train(model, inputs, task, settings, told, comb, target={"macs": 0.3})
    assert equal(whole, again)
    timed = ("latency/ms_b1", "latency/ms_b32", "train/images_per_s")  # of the clock, not of the run
    mine, theirs = ({k: v for k, v in m.items() if k[1] not in timed} for m in (first, told.metrics))
    assert mine == theirs


def test_parts_of_a_batch_add_up_to_the_whole(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    rows = {"steps": 5, "batch_size": 32, "optimizer": "sgd", "lr": 0.1, "warmup": 0.0, "clip": 1.0}
    one = train(plain, inputs, task, TrainSettings(**rows), memory())
    four = train(plain, inputs, task, TrainSettings(**rows, accumulate=4), memory())
    for a, b in zip(one.module.parameters(), four.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_every_loss_trains(model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    losses = {"task": 1.0, "soft_logits": 0.5, "hard_labels": 0.5, "features": 1.0}
    settings = TrainSettings(
        steps=4, batch_size=32, losses=losses, schedule="one-shot", score_batches=2, precision="bf16"
    )
    told = memory()
    train(model, inputs, task, settings, told, comb, uniform_plan(comb, 0.3))
    row = {name: told.metrics[4, f"train/loss/{name}"] for name in losses}
    assert all(value > 0 for value in row.values())
    assert told.metrics[4, "train/loss"] == pytest.approx(sum(losses[n] * v for n, v in row.items()), rel=1e-5)


def test_what_cannot_be_is_said(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    with pytest.raises(PlanError, match="comb it first"):
        train(model, inputs, task, SHORT, memory(), target={"macs": 0.3})
    with pytest.raises(PlanError, match="outside 0..1"):
        train(model, inputs, task, SHORT, memory(), comb, target={"macs": 25})
    with pytest.raises(DeviceError, match="precision fp16 needs a GPU"):
        train(model, inputs, task, TrainSettings(steps=1, precision="fp16"), memory())
    with pytest.raises(RunError, match="no longer finite"):
        train(model, inputs, task, TrainSettings(steps=30, lr=1e9, optimizer="sgd", warmup=0), memory())
    told = memory(stop_at=2)
    train(model, inputs, task, TrainSettings(steps=5), told)
    with pytest.raises(RunError, match="a run of 5 steps, this one has 6"):
        train(model, inputs, task, TrainSettings(steps=6), told)


def test_another_network_can_teach(model: nn.Module, inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    """A student that sees only the teacher's answers comes to give them."""
    teacher = train(model, inputs, task, DENSE, memory()).module
    torch.manual_seed(1)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    settings = TrainSettings(steps=100, lr=1e-2, losses={"soft_logits": 1.0})
    told = memory()
    result = train(student, inputs, task, settings, told, teacher=teacher)
    assert result.teacher == accuracy(teacher, task)
    assert (100, "train/loss/task") not in told.metrics
    assert result.last > 0.85
    with pytest.raises(PlanError, match="compare features"):
        train(student, inputs, task, TrainSettings(losses={"features": 1.0}), memory(), teacher=teacher)
