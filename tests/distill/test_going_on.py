"""Places to go back to, runs that go on from there with other goals, and losses that are no numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpd.comb.comb import Comb
from cpd.distill.schedule import within
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import Diverged, PlanError, RunError
from cpd.prune.plan import plan_ratios, uniform_plan
from cpd.tasks.task import Task

SHORT = TrainSettings(steps=24, lr=2e-3, batch_size=32, chunks=6, evaluate_every=8, average=0.9, cut_share=0.7)


def test_a_run_killed_just_before_a_cut_cuts_when_it_is_resumed(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    told = memory()
    whole = train(model, inputs, task, SHORT, told, comb, target={"macs": 0.3})
    first = dict(told.metrics)
    assert 4 <= len(told.places) <= 8
    for place in sorted(told.places)[::3]:
        at = max(i for i, (step, state) in enumerate(told.saved) if step == place and state["pending"])
        again = memory()
        again.saved = told.saved[: at + 1]
        result = train(model, inputs, task, SHORT, again, comb, target={"macs": 0.3})
        mine, theirs = whole.module.state_dict(), result.module.state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        timed = ("latency/ms_b1", "latency/ms_b32", "train/images_per_s")
        assert {k: v for k, v in again.metrics.items() if k[1] not in timed} == {
            k: v for k, v in first.items() if k in again.metrics and k[1] not in timed
        }


@pytest.mark.parametrize("stop_at", [-1, 15])
def test_another_target_from_a_checkpoint(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, stop_at: int
) -> None:
    told = memory()
    train(model, inputs, task, SHORT, told, comb, target={"macs": 0.6})
    step = sorted(told.places)[3]
    state = next(state for at, state in told.saved if at == step and state["pending"])
    other = memory(stop_at=stop_at)
    other.saved = [(step, state)]
    result = train(model, inputs, task, SHORT, other, comb, target={"macs": 0.2}, begin=step)
    if stop_at > 0:
        assert not result.finished
        result = train(model, inputs, task, SHORT, other, comb, target={"macs": 0.2}, begin=step)
        calm = memory()
        calm.saved = [(step, state)]
        mine = train(model, inputs, task, SHORT, calm, comb, target={"macs": 0.2}, begin=step).module.state_dict()
        assert all(torch.equal(mine[name], tensor) for name, tensor in result.module.state_dict().items())
    assert result.plan is not None
    assert result.plan.target == {"macs": 0.2}
    assert other.metrics[24, "cost/macs"] <= 0.2
    assert min(at for at, _ in other.metrics) == step
    assert other.metrics[step, "cost/macs"] == told.places[step]["macs"]
    assert min(at for at, _ in other.of("cut")) > step
    kept = {name: set(units) for name, units in state["student"]["keep"].items()}
    assert all(set(row.keep) <= kept[row.group] for row in result.plan.groups)


def test_other_ratios_from_a_checkpoint(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    told = memory()
    train(model, inputs, task, SHORT, told, comb, target={"macs": 0.5})
    step = sorted(told.places)[-1]
    state = next(state for at, state in told.saved if at == step and state["pending"])
    kept = {name: set(units) for name, units in state["student"]["keep"].items()}
    names = [g.name for g in comb.groups if g.prunable]
    plan = plan_ratios(comb, {name: (0.75, 0.25)[i % 2] for i, name in enumerate(names)})
    other = memory()
    other.saved = [(step, state)]
    result = train(model, inputs, task, SHORT, other, comb, plan, begin=step)
    assert result.plan is not None
    for row, asked in zip(result.plan.groups, plan.groups, strict=True):
        assert set(row.keep) <= kept[row.group]
        assert len(row.keep) == min(len(asked.keep), len(kept[row.group]))
        if set(asked.keep) <= kept[row.group]:
            assert row.keep == asked.keep
        elif row.group in names:
            assert "gone at the checkpoint" in row.reason


def test_what_cannot_go_on_is_said(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    told = memory()
    train(model, inputs, task, SHORT, told, comb, target={"macs": 0.3})
    step = sorted(told.places)[-1]
    told.saved = [row for row in told.saved if row[0] <= step]
    with pytest.raises(PlanError, match="the checkpoint has 3.*left, and what is asked for is 90.0%; ask for less"):
        train(model, inputs, task, SHORT, told, comb, target={"macs": 0.9}, begin=step)
    with pytest.raises(RunError, match="the checkpoint is of step 30 and the run ends at step 24"):
        train(model, inputs, task, SHORT, told, comb, target={"macs": 0.2}, begin=30)


def test_a_plan_within_everything_is_the_plan(comb: Comb) -> None:
    plan = uniform_plan(comb, 0.5)
    whole = {group.name: tuple(range(group.width)) for group in comb.groups}
    assert within(plan, comb.record, whole) == plan


def test_no_checkpoint_is_written_once_a_number_is_not_finite(
    inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    settings = TrainSettings(steps=2000, lr=1e9, optimizer="sgd", warmup=0.0, checkpoint_s=0.0, evaluate_every=2000)
    told = memory()
    with pytest.raises(Diverged, match="is no longer finite at step"):
        train(plain, inputs, task, settings, told)
    for _, state in told.saved:
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state["student"]["weights"].values())
        assert all(bool(torch.isfinite(tensor)) for tensor in state["meter"]["sums"].values())


def test_the_mean_of_a_logged_loss_survives_a_kill(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    """Of a long run only some steps are logged, as means; a checkpoint between two of them carries what was added."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    settings = TrainSettings(steps=2000, batch_size=8, evaluate_every=2000, epochs=0)
    calm, told = memory(), memory(stop_at=13)
    calm.stop_at = 40
    train(plain, inputs, task, settings, calm)
    assert not train(plain, inputs, task, settings, told).finished
    told.stop_at = 40
    train(plain, inputs, task, settings, told)
    logged = [(step, value) for (step, name), value in calm.metrics.items() if name == "train/loss"]
    assert [step for step, _ in logged] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert logged == [(step, value) for (step, name), value in told.metrics.items() if name == "train/loss"]
