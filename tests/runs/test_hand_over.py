"""From a run to a folder that needs none of this: the two commands, and the line in the folder that does the run again."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

import cpd
from cpd.cli import main
from cpd.prune.plan import Plan

MODEL = ["timm:test_resnet", "--set", "num_classes=10", "--set", "in_chans=1", "--set", "img_size=32"]
FILES = "README.md history.json load.py manifest.json metrics.csv model.onnx model.safetensors network.py parity.json plan.json report.html".split()


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_finished_run_is_handed_over_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert (
        call(
            "run",
            *MODEL,
            "--data",
            "digits",
            "--target",
            "macs=0.6",
            "--steps",
            6,
            "--batch-size",
            16,
            "--evaluate-every",
            3,
            "--seed",
            4,
            "--out",
            run,
        )
        == 0
    )
    assert call("export", run, "--format", "loader,onnx", "--images", 40) == 0
    folder = run / "handover"
    assert sorted(set(FILES) - {path.name for path in folder.iterdir()}) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["verified"] is True
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert all(
        row["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name, row in manifest["files"].items()
    )

    # To the last bit what the run's own bundle gives.
    pruned, inputs = cpd.load_model(MODEL[0], run, {"num_classes": 10, "in_chans": 1, "img_size": 32})
    loaded = runpy.run_path(str(folder / "load.py"))["load"](folder)
    x = torch.randn(3, *inputs[0].shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded(x), pruned(x))

    plan = Plan.from_json((folder / "plan.json").read_text())
    events = json.loads((folder / "history.json").read_text())
    assert {event["group"] for event in events if event["kind"] == "cut"} == {
        row.group for row in plan.groups if row.granted
    }
    assert "val/top1" in (folder / "metrics.csv").read_text()
    report, parity = (folder / "report.html").read_text(), json.loads((folder / "parity.json").read_text())
    assert "Files that were handed over" in report
    assert (parity["inputs"], parity["images"]) == ("images", 40)
    assert {(form["form"], form["verified"], len(form["latency"])) for form in parity["forms"]} == {
        ("loader", True, 2),
        ("onnx", True, 2),
    }

    # The line in the card, run where the card lies, gives the same widths.
    line = re.search(r"^python -m cpd (run .*)$", (folder / "README.md").read_text(), re.M)
    assert line is not None
    words = shlex.split(line[1])
    words[words.index("--out") + 1] = str(tmp_path / "again")
    monkeypatch.chdir(folder)
    assert call(*words) == 0
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    assert {row["group"]: row["keep"] for row in again["plan"]["groups"]} == {
        row.group: list(row.keep) for row in plan.groups
    }
    capsys.readouterr()
