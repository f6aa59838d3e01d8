"""Planning from the command line and in the background: times and sensitivities from files, targets that they make good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cpd
from cpd.cli import main
from cpd.prune.latency import LatencyModel, LatencyTable
from cpd.prune.plan import Plan
from cpd.prune.predict import AccuracyModel
from cpd.runs.spec import RunSpec
from cpd.runs.worker import run_foreground
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable

NETWORK = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

example_inputs = (torch.zeros(2, 3, 32, 32),)
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path / 'net.py'}:Net"


def sensed(net: str, path: Path) -> SensitivityTable:
    """The first group is the sensitive one."""
    groups = [g for g in cpd.comb(*cpd.load_model(net)).groups if g.prunable]
    rows = {}
    for number, group in enumerate(groups):
        values = [(group.width * k // 4, 0.9 - (0.3, 0.02)[min(number, 1)] * (1 - k / 4)) for k in (4, 3, 2, 1)]
        rows[group.name] = GroupSensitivity(tuple(Point(kept, v, v, v, 5000) for kept, v in values))
    digest = cpd.comb(*cpd.load_model(net)).model
    table = SensitivityTable(digest, "top1", 0.9, 5000, 1, rows)
    table.save(path)
    return table


def test_milliseconds_from_the_command_line(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times, out = tmp_path / "times.json", tmp_path / "plan.json"
    assert main(["measure", net, "--operators", "--batch", "4", "--seconds", "0.02", "--json", str(times)]) == 0
    assert "conv2d" in capsys.readouterr().out
    table = LatencyTable.load(times)
    assert table.batch == 4
    record = cpd.comb(*cpd.load_model(net)).record
    model = LatencyModel(record, table)
    least = model.estimate({g.name: range(1) for g in record.groups if g.prunable}).value
    limit = (model.estimate({}).value + least) / 2
    plan = ["plan", net, "--criterion", "l2", "--no-certify", "--latency", str(times), "--out", str(out)]
    assert main([*plan, "--target", f"latency_ms={limit}"]) == 0
    assert "ms  (estimates; 90 % interval" in capsys.readouterr().out
    made = Plan.load(out)
    assert model.estimate(made.keep).value <= limit < model.estimate({}).value
    assert made.target == {"latency_ms": limit}
    assert main([*plan, "--target", f"latency_ms={least / 2}", "--min-width", "*=5"]) == 0
    assert {len(row.keep) for row in Plan.load(out).groups if row.width >= 24} == {5}
    assert "the nearest that can is latency_ms=" in capsys.readouterr().out


def test_sensitivities_and_a_floor_from_the_command_line(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = sensed(net, tmp_path / "sense.json")
    record = cpd.comb(*cpd.load_model(net)).record
    first, second = [g.name for g in record.groups if g.prunable][:2]
    out = tmp_path / "plan.json"
    plan = ["plan", net, "--criterion", "l2", "--no-certify", "--target", "macs=0.5", "--out", str(out)]
    assert main([*plan, "--sensitivity", str(tmp_path / "sense.json")]) == 0
    assert "predicted before training" in capsys.readouterr().out
    made = Plan.load(out)
    granted = {row.group: row.granted for row in made.groups}
    assert granted[first] < granted[second]
    floor = (AccuracyModel(record, table).estimate(made.keep).value + 0.9) / 2
    assert main([*plan, "--sensitivity", str(tmp_path / "sense.json"), "--floor", str(floor)]) == 0
    assert "below the floor" in capsys.readouterr().out
    assert AccuracyModel(record, table).estimate(Plan.load(out).keep).value >= floor
    assert main([*plan, "--floor", "0.8"]) == 2
    assert "--floor needs --sensitivity" in capsys.readouterr().err


def test_the_profile_job_leaves_a_table_for_the_comb(net: str, tmp_path: Path) -> None:
    spec = RunSpec("profile", model=net, options={"batch": 2, "seconds": 0.3, "certify": False})
    row = run_foreground(tmp_path / "run", spec)
    assert row.state == "finished", row.error
    table = LatencyTable.load(tmp_path / "run" / "latency.json")
    record = cpd.comb(*cpd.load_model(net)).record
    assert LatencyModel(record, table).estimate({}).value > 0
    assert table.batch == 2
    said = json.loads((tmp_path / "run" / "result.json").read_text())
    assert said["dense_ms"] == table.dense_ms
    assert said["median_error"] == pytest.approx(table.median_error)
