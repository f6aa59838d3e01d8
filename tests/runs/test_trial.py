"""A plan carried out on the spot: what the job writes is what torch alone says of the same cut."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

import cpd
from cpd.errors import StorageError
from cpd.measure.measurement import Latency, Measurement
from cpd.prune.plan import GroupPlan, Plan
from cpd.prune.trial import MOST, Trial, add_trial, load_trials
from cpd.runs.jobs.trial import BATCH_SIZE
from cpd.runs.spec import RunSpec
from cpd.runs.worker import run_foreground
from cpd.tasks import load_task

NETWORK = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=6):
        super().__init__(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 10))

example_inputs = (torch.zeros(2, 1, 16, 16),)
"""
KEEP = (0, 2, 5)


def test_the_cut_is_measured_with_fresh_statistics_and_kept_under_its_digest(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    (tmp_path / "net.py").write_text(NETWORK)
    spec = f"{tmp_path}/net.py:Net"
    model, inputs = cpd.load_model(spec)
    comb = cpd.comb(model, inputs)
    plan = Plan(
        comb.model,
        tuple(GroupPlan(g.name, g.width, KEEP if g.name == "0" else tuple(range(g.width))) for g in comb.groups),
    )
    options = {"plan": json.loads(plan.to_json()), "batches": [1], "recalibrate": 2}
    row = run_foreground(tmp_path / "out", RunSpec("trial", model=spec, data="digits", options=options, seed=3))
    assert row.state == "finished", row.error

    found = load_trials(tmp_path / "out" / "trial.json")[plan.digest]
    assert found.recalibrated == 2
    assert found.pruned.parameters == 3 * 9 + 3 + 2 * 3 + 16 * 3 * 10 + 10
    assert found.dense.parameters == sum(p.numel() for p in model.parameters())
    assert [entry.batch for entry in found.pruned.latency] == [1]
    assert found.dense.quality == pytest.approx(accuracy(by_hand(model, list(range(6)), spec, statistics=False), spec))
    assert found.pruned.quality == pytest.approx(accuracy(by_hand(model, list(KEEP), spec, statistics=True), spec))


def by_hand(model: nn.Module, keep: list[int], spec: str, statistics: bool) -> nn.Module:
    """The same cut made tensor by tensor, in plain torch; its statistics as torch itself averages them."""
    old = model.state_dict()
    columns = [16 * unit + pixel for unit in keep for pixel in range(16)]
    cut = nn.Sequential(
        nn.Conv2d(1, len(keep), 3, stride=2, padding=1), nn.BatchNorm2d(len(keep), momentum=None), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * len(keep), 10),
    )  # fmt: skip
    state = {name: value[keep] if name[:2] in ("0.", "1.") and value.ndim else value for name, value in old.items()}
    cut.load_state_dict(state | {"5.weight": old["5.weight"][:, columns]})
    if statistics:
        cut[1].reset_running_stats()
        cut.train()
        with torch.no_grad():
            for images, _ in islice(task(spec).train_batches(BATCH_SIZE, 3, augment=False), 2):
                cut(images)
    return cut.eval()


def task(spec: str):
    return load_task("digits", cpd.load_model(spec)[1], spec, lambda *_: None)


def accuracy(module: nn.Module, spec: str) -> float:
    hits, seen = 0, 0
    with torch.no_grad():
        for images, targets in task(spec).val_batches(50):
            hits += int((module(images).argmax(1) == targets).sum())
            seen += len(targets)
    return hits / seen


def test_a_trial_without_a_plan_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    row = run_foreground(tmp_path / "out", RunSpec("trial", model=f"{tmp_path}/net.py:Net", data="digits"))
    assert (row.state, row.error) == ("failed", "a trial needs a plan; choose ratios on the Plan screen first.")


def test_plans_are_kept_apart_by_what_they_cut_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    a = Plan("m", (GroupPlan("g", 4, (0, 1), 0.5), GroupPlan("h", 2, (0, 1))))
    asked = replace(a, groups=(replace(a.groups[0], requested=0.4), a.groups[1]), criterion="l2")
    other = replace(a, groups=(replace(a.groups[0], keep=(0, 2)), a.groups[1]))
    assert a.digest == asked.digest == replace(a, groups=a.groups[::-1]).digest
    assert len({a.digest, other.digest, replace(a, model="n").digest}) == 3

    size = Measurement(5, 6.0, "top1", 0.5, 10, (Latency(1, 1.0, 0.9, 1.1, 5, 1),), "cpu", "bench", "2.13")
    file = tmp_path / "trial.json"
    for number in range(MOST + 3):
        add_trial(file, Trial(f"plan {number}", size, replace(size, quality=number / 100), 1, 2.0, number))
    add_trial(file, Trial("plan 10", size, replace(size, quality=0.99), 1, 2.0, 99.0))
    found = load_trials(file)
    assert list(found) == [*(f"plan {n}" for n in range(3, MOST + 3) if n != 10), "plan 10"]
    assert found["plan 10"].pruned.quality == 0.99
    file.write_text("{}")
    with pytest.raises(StorageError, match="delete it"):
        load_trials(file)
