"""A target that is measured and not priced: reached on machines of any kind, said where it cannot be, repeated after a kill."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs
from torch import Tensor, nn

import cpd
from cpd.cli import options
from cpd.comb.comb import Comb
from cpd.distill import shrink
from cpd.distill.pace import Pace, Timing
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import PlanError
from cpd.measure.latency import latencies
from cpd.tasks.task import Task

SHORT = TrainSettings(steps=24, batch_size=32, evaluate_every=12, score_batches=2, chunks=4, cut_share=0.5)


@settings(max_examples=200, deadline=None)
@given(fixed=hs.floats(0, 0.4), power=hs.floats(0.4, 1.2), wanted=hs.floats(0.5, 0.95), events=hs.integers(1, 20))
def test_any_machine_is_brought_to_the_target_and_not_far_below(
    fixed: float, power: float, wanted: float, events: int
) -> None:
    """A machine whose passes take fixed + (1 - fixed) * macs ** power; the network can be cut to any cost."""
    pace, macs = Pace("latency", wanted, events), 1.0
    for event in range(1, events + 13):
        pace.note(Timing(10 * (fixed + (1 - fixed) * macs**power), 10.0, 9), macs)
        if pace.settled(macs):
            break
        after = pace.goal(event)
        assert macs * 0.5 - 1e-9 <= after < macs or event == 1
        macs = after
    needed = ((wanted - fixed) / (1 - fixed)) ** (1 / power)
    if needed > pace.least:
        assert pace.met
        assert macs >= needed * 0.4
        assert pace.shortfall(macs) == ""
    else:
        assert macs >= pace.least - 1e-9


def test_milliseconds_and_shares() -> None:
    share, ms = Pace("latency", 0.5, 4), Pace("latency_ms", 3.0, 4)
    for pace in (share, ms):
        pace.note(Timing(4.0, 10.0, 7), 0.3)
    assert share.met
    assert not ms.met
    assert share.goal(2) == 0.3
    assert "not met: the run ended before" in Pace("latency", 0.5, 4).shortfall(1.0)
    assert ms.shortfall(0.3).startswith("a pass at batch 1 takes 4 ms, 40.0% of the dense network's 10 ms")
    assert "may not be met" in share.shortfall(0.2)  # it was cut since
    again = Pace("latency_ms", 3.0, 4)
    again.load(ms.state())
    assert (again.timing, again.macs, again.goal(3)) == (ms.timing, ms.macs, ms.goal(3))


class Machine:
    """In place of the stopwatch: passes take as long as `speed` says of the student's weights, with noise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fixed: float, noise: float = 0.0) -> None:
        self.fixed, self.noise, self.dice = fixed, noise, random.Random(3)
        self.said: list[Timing] = []
        monkeypatch.setattr(shrink, "time_beside", self)

    def __call__(self, student: nn.Module, dense: nn.Module, *_: Any) -> Timing:
        share = sum(p.numel() for p in student.parameters()) / sum(p.numel() for p in dense.parameters())
        took = 4 * (self.fixed + (1 - self.fixed) * share) * (1 + self.dice.uniform(-1, 1) * self.noise)
        self.said.append(Timing(took, 4.0, 5))
        return self.said[-1]


def test_a_run_goes_on_until_the_latency_is_there(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, told = Machine(monkeypatch, fixed=0.2), memory()
    done = train(model, inputs, task, SHORT, told, comb, target={"latency": 0.6})
    assert machine(done.module, model).student_ms <= 2.4
    assert done.plan is not None
    assert (done.plan.shortfall, dict(done.plan.target)) == ("", {"latency": 0.6})
    (note,) = [text for _, kind, text, _ in told.events if kind == "note"]
    assert "asked for are 60.0%" in note
    measured = [value for (_, name), value in sorted(told.metrics.items()) if name == "latency/share"]
    assert measured[0] == pytest.approx(1.0)
    assert measured == sorted(measured, reverse=True)
    assert measured[-1] <= 0.6 < measured[-2]
    held = [state["shrink"]["pace"]["timing"]["student_ms"] for _, state in told.saved if state["pending"]]
    assert held == [4 * value for value in measured]  # a checkpoint holds every measurement before it decides


def test_what_cannot_be_reached_is_said_and_the_network_lives(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, fixed=0.9)
    done = train(model, inputs, task, SHORT, memory(), comb, target={"latency_ms": 3.0})
    assert done.plan is not None
    assert "asked for are 3 ms: cutting on hardly helps" in done.plan.shortfall
    left = [len(row.keep) / row.width for row in done.plan.groups]
    assert min(left) > 0.1


@pytest.mark.parametrize("corridor", [0.0, 0.5])
def test_a_killed_run_cuts_by_what_was_measured_before(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any, monkeypatch: pytest.MonkeyPatch,
    corridor: float,
) -> None:  # fmt: skip
    how = TrainSettings(**(SHORT.to_dict() | {"corridor": corridor, "corridor_images": 64}))
    machine, told, said = Machine(monkeypatch, fixed=0.2, noise=0.1), memory(), []
    save = told.save
    told.save = lambda *a: (said.append(len(machine.said)), save(*a))
    whole = train(model, inputs, task, how, told, comb, target={"latency": 0.5})
    number = next(i for i, (step, state) in enumerate(told.saved) if state["pending"] and step > 4)
    told.saved = told.saved[: number + 1]
    later = iter(machine.said[said[number] :])  # nothing that was measured before is measured again
    monkeypatch.setattr(shrink, "time_beside", lambda *_: next(later))
    second = train(model, inputs, task, how, told, comb, target={"latency": 0.5})
    assert next(later, None) is None
    assert whole.plan == second.plan
    for a, b in zip(whole.module.state_dict().values(), second.module.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class Wide(nn.Sequential):
    """Nearly all of a pass is arithmetic."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((1, 96), (96, 96), (96, 96)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))


def test_passes_really_get_faster(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    torch.manual_seed(0)
    net = Wide().eval()
    how = TrainSettings(**(SHORT.to_dict() | {"steps": 16, "batch_size": 8, "criterion": "l1"}))
    done = train(net, inputs, task, how, memory(), cpd.comb(net, inputs), target={"latency": 0.5})
    assert done.plan is not None
    assert done.plan.shortfall == ""
    found = latencies({"dense": net, "pruned": done.module}, inputs, 1, seconds=0.5)
    assert found["pruned"].median_ms < 0.7 * found["dense"].median_ms  # timed again, on a machine that may be busy
    assert sum(p.numel() for p in done.module.parameters()) > 0.05 * sum(p.numel() for p in net.parameters())


def test_only_a_run_takes_a_share_of_the_latency() -> None:
    assert options.targets(["latency=0.5"], run=True) == {"latency": 0.5}
    assert options.targets(["latency_ms=3"], run=True) == {"latency_ms": 3.0}
    with pytest.raises(PlanError, match="a run can be told so, a plan cannot"):
        options.targets(["latency=0.5"])
    with pytest.raises(PlanError, match=r"latency=2 is outside 0\.\.1"):
        options.targets(["latency=2"], run=True)
