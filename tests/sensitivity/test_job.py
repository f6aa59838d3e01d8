"""Scans as background work and from the command line, on a real small network and real digits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpd.cli import main as command
from cpd.runs.control import submit
from cpd.runs.project import create_project, project_folder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.worker import run_foreground
from cpd.runs.workspace import open_workspace, run_folder
from cpd.sensitivity.table import SensitivityTable
from tests.runs.conftest import end_processes, kill, set_policy, wait, wait_over

NETWORK = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10))

example_inputs = (torch.zeros(2, 1, 32, 32),)
"""
SETTINGS = {"images": 128, "ratios": [0.3, 0.6], "tolerance": 0.0, "floor": 0.0, "calibration": 128, "batch": 2}
SETTINGS |= {"latency_s": 0.0, "certify": False}


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path}/net.py:Net"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = open_workspace()
    set_policy(root, poll_s=0.03, backoff_s=0.05)
    yield root
    end_processes(root)


def values(table: SensitivityTable) -> dict[str, list[tuple[int, float]]]:
    return {name: [(p.kept, p.value) for p in group.points] for name, group in table.groups.items()}


def test_a_scan_that_was_killed_ends_with_the_same_table(root, network, tmp_path):
    store = Store(root / "runs.db")
    project = create_project(root, "tiny", network, data="digits")
    file = project_folder(root, project.id) / "sensitivity.json"
    spec = project.spec("sense", options=SETTINGS)
    run = submit(root, spec)
    wait(lambda: file.exists() and bool(SensitivityTable.load(file).groups), 120, "the first point")
    seen = SensitivityTable.load(file)  # live: a table that is whole at any moment
    assert not seen.done
    assert kill(run_folder(root, run) / "lock")
    assert wait_over(store, run, 240).state == "finished", store.run(run).error
    assert store.events(run, kinds=["resume"])
    found = SensitivityTable.load(file)
    row = store.run(run)
    assert (found.done, row.step) == (True, row.total)
    assert list(found.groups) == ["0", "3", "6"]
    for name, points in values(seen).items():
        assert values(found)[name][: len(points)] == points
    whole = run_foreground(tmp_path / "calm", RunSpec("sense", model=network, data="digits", options=SETTINGS))
    assert whole.state == "finished", whole.error
    calm = SensitivityTable.from_dict(json.loads((tmp_path / "calm" / "result.json").read_text()))
    assert values(calm) == values(found)
    assert all(
        p.latency_ms and p.latency_low <= p.latency_ms <= p.latency_high for g in calm.groups.values() for p in g.points
    )
    store.close()


def test_the_command_line_prints_and_writes_the_table(network, tmp_path, capsys):
    arguments = [
        "sense",
        network,
        "--data",
        "digits",
        "--ratios",
        "0.5",
        "--images",
        "100",
        "--group",
        "3",
        "--batch",
        "1",
    ]
    assert command([*arguments, "--calibration", "128", "--json", str(tmp_path / "t.json")]) == 0
    text = capsys.readouterr().out
    table = SensitivityTable.load(tmp_path / "t.json")
    assert [(name, [p.kept for p in g.points]) for name, g in table.groups.items()] == [("3", [16, 8])]
    assert f"8: {table.groups['3'].points[1].value:.1%}" in text
    assert f"{table.dense:.2%}" in text
    assert command([*arguments, "--criterion", "charm"]) == 2
    assert command(["sense", network, "--data", "digits", "--group", "99"]) == 2
    assert "no group is called '99'" in capsys.readouterr().err


def test_units_are_chosen_by_what_the_project_has_scored(root):
    """On the demo's trained weights half of the units matter, and which half matters."""
    from cpd.importance.scores import ScoreTable
    from cpd.tasks.demos import DEMOS
    from tests.runs.test_jobs import in_this_process

    store = Store(root / "runs.db")
    demo = DEMOS[0]
    project = create_project(root, "demo", demo.model, str(demo.weights), settings=dict(demo.settings), data=demo.data)
    folder = project_folder(root, project.id)
    options = SETTINGS | {"groups": ["conv1"], "ratios": [0.7], "batch": 0}
    in_this_process(root, store, project.spec("comb", options={"certify": False}))
    in_this_process(root, store, project.spec("score", options={"criteria": ["l2"], "batches": 1}))
    in_this_process(root, store, project.spec("sense", options=options))
    best = SensitivityTable.load(folder / "sensitivity.json").groups["conv1"].points[1]
    scores = ScoreTable.load(folder / "scores" / "l2.json")
    upside_down = {name: -row for name, row in scores.groups.items()}
    ScoreTable("l2", scores.model, upside_down, scores.layers).save(folder / "scores" / "l2.json")
    in_this_process(root, store, project.spec("sense", options=options))
    worst = SensitivityTable.load(folder / "sensitivity.json").groups["conv1"].points[1]
    assert best.kept == worst.kept
    assert worst.value < best.value - 0.1
    store.close()
