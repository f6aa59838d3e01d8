"""The job and the command: all criteria on a small network and the digits, what does not fit left out, and stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cpd
from cpd.cli import main
from cpd.importance import CRITERIA, ScoreTable, score
from cpd.runs.spec import RunSpec
from cpd.runs.worker import run_foreground
from cpd.tasks import load_task

NETWORK = """
import torch

def make():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3), torch.nn.ReLU(inplace=True), torch.nn.Conv2d(12, 8, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10))
    return net, torch.randn(2, 1, 16, 16)
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A network without batch norm."""
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path}/net.py:make"


class Watching:
    """Follows a run as the command line does; may press Ctrl+C."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.notes: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, step: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        self.notes.append(text)

    def progress(self, step: int, total: int) -> None:
        self.steps.append((step, total))
        if (step, total) == (self.stop_at, 4):
            signal.raise_signal(signal.SIGINT)


def job(model: str, criteria: list[str], batches: int) -> RunSpec:
    return RunSpec(
        "score", "", model, "", {}, "digits", "cpu", 0, {"criteria": criteria, "batches": batches, "certify": False}
    )


def test_a_job_scores_by_all_criteria_and_says_what_it_leaves_out(spec: str, tmp_path: Path) -> None:
    watching = Watching()
    row = run_foreground(tmp_path / "run", job(spec, list(CRITERIA), 2), watching)
    assert row.state == "finished", row.error
    assert {path.stem for path in (tmp_path / "run" / "scores").iterdir()} == set(CRITERIA) - {"bn_scale"}
    assert any("Batch-norm scale is left out" in text and "no" in text for text in watching.notes)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["left_out"] == {
        "bn_scale": "none of its groups has a batch norm"
    }
    # what the library says of the same network and the same images
    model, inputs = cpd.load_model(spec)
    task = load_task("digits", inputs)
    names = ["activation", "integrated_gradients"]
    record = cpd.comb(model, inputs).record
    mine = score(model, record, task.train_batches(32, 0, augment=False), names, 2, loss=task.loss)
    for name in names:
        table = ScoreTable.load(tmp_path / "run" / "scores" / f"{name}.json")
        assert len(table.parts) == 2
        for group, values in mine[name].groups.items():
            np.testing.assert_allclose(table.groups[group], values, rtol=1e-5)
            np.testing.assert_allclose(table.parts[1][group], mine[name].parts[1][group], rtol=1e-5)
        assert table.silent == mine[name].silent


def test_a_stopped_job_leaves_no_scores(spec: str, tmp_path: Path) -> None:
    """Attributions of two layers and two batches are four steps; Ctrl+C comes after the first."""
    watching = Watching(stop_at=1)
    row = run_foreground(tmp_path / "run", job(spec, ["integrated_gradients"], 2), watching)
    assert row.state == "stopped"
    assert watching.steps[-1] == (1, 4)
    assert not (tmp_path / "run" / "scores").exists()


def test_the_command_scores_by_whatever_fits(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", spec, "--criterion", "all", "--json", str(tmp_path / "s.json")]) == 0
    found = json.loads((tmp_path / "s.json").read_text())
    assert set(found) == {n for n, e in CRITERIA.items() if not e.needs_data} - {"bn_scale"}  # no data was named
    capsys.readouterr()
    assert main(["score", spec, "--data", "digits", "--batches", "4", "--criterion", "taylor"]) == 0
    text = capsys.readouterr().out
    assert "stable: rank correlation between scores of 4 separate parts" in text
    assert main(["score", spec, "--criterion", "bn_scale"]) == 2
    assert "nothing to score in this model, none of its groups has a batch norm" in capsys.readouterr().err
