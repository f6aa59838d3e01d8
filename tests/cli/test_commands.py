"""Every command on a real small model, and every mistake as one line and status 2."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cpd
from cpd.cli import COMMANDS, main
from cpd.cli.options import literal, pair, share, table
from cpd.cli.progress import Bar
from cpd.comb.findings import Findings
from cpd.comb.record import CombRecord
from cpd.errors import PlanError, RunError
from cpd.importance.scores import ScoreTable
from cpd.measure.measurement import Measurement
from cpd.prune.plan import Plan

MODEL = ["timm:test_resnet", "--set", "num_classes=10", "--set", "in_chans=1", "--set", "img_size=32"]
NET = """
import torch

def make(num_classes=10):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3), torch.nn.BatchNorm2d(12), torch.nn.ReLU(), torch.nn.Conv2d(12, 8, 3),
        torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, num_classes))
    return net, torch.randn(2, 1, 16, 16)
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py:make"


def call(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_help_of_every_command_needs_no_torch() -> None:
    code = "import sys; from cpd.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit as end: assert end.code == 0\nassert 'torch' not in sys.modules"
    for command in ((), *((name,) for name in COMMANDS)):
        done = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=True, timeout=300)
        assert "usage: python -m cpd" in done.stdout


def test_comb_lists_the_groups_that_the_library_finds(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("comb", net, "--out", tmp_path / "c", "--json", tmp_path / "c.json") == 0
    text = capsys.readouterr().out
    row = json.loads((tmp_path / "c.json").read_text())
    groups = cpd.comb(*cpd.load_model(net)).groups
    assert [g["name"] for g in row["groups"]] == [g.name for g in groups]
    assert {g["units"] for g in row["groups"]} >= {12, 8}
    assert all(g.name in text for g in groups)
    # by hand: two convolutions, batch norm, classifier
    assert row["parameters"] == 12 * 9 + 12 + 24 + 8 * 12 * 9 + 8 + 8 * 10 + 10
    assert row["macs"] == 12 * 9 * 14 * 14 + 8 * 12 * 9 * 12 * 12 + 80
    assert all(g["certified"] for g in row["groups"] if g["prunable"])
    assert [g.name for g in CombRecord.load(tmp_path / "c").groups] == [g.name for g in groups]


def test_score_ranks_by_hand(net: str, tmp_path: Path) -> None:
    """A channel whose every weight is zero scores least."""
    model, _ = cpd.load_model(net)
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            tensor[5] = 0
        model[3].weight[:, 5] = 0
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert call("score", net, "--weights", tmp_path / "w.pt", "--data", "digits", "--criterion", "l2", "--criterion", "taylor",
                "--batches", 1, "--out", tmp_path / "s") == 0  # fmt: skip
    for name in ("l2", "taylor"):
        found = ScoreTable.load(tmp_path / "s" / f"{name}.json")
        (scores,) = [v for v in found.groups.values() if len(v) == 12]
        assert scores.argmin() == 5


def test_plan_keeps_to_its_target_and_to_the_hand(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    assert call("plan", net, "--target", "macs=0.5", "--criterion", "l2", "--out", plan, "--no-certify") == 0
    kept = Plan.load(plan)
    model, inputs = cpd.load_model(net)
    pruned = cpd.prune(model, cpd.comb(model, inputs), kept)
    channels = [m.shape[0] for n, m in pruned.state_dict().items() if n.endswith("weight") and m.ndim == 4]
    macs = channels[0] * 9 * 14 * 14 + channels[1] * channels[0] * 9 * 12 * 12 + channels[1] * 10
    assert macs <= 0.5 * (12 * 9 * 14 * 14 + 8 * 12 * 9 * 12 * 12 + 80)
    assert "MACs" in capsys.readouterr().out
    group = next(r.group for r in kept.groups if r.width == 12)
    assert call("plan", net, "--ratio", f"{group}=0.25", "--criterion", "l2", "--json", "-", "--no-certify") == 0
    row = json.loads(capsys.readouterr().out)
    assert {len(g["keep"]) for g in row["groups"] if g["width"] == 12} == {9}
    assert {len(g["keep"]) for g in row["groups"] if g["width"] == 8} == {8}


def test_measure_as_json(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("measure", net, "--seconds", "0.02", "--batch", 3, "--json", "-", "--data", "digits") == 0
    found = Measurement.from_dict(json.loads(capsys.readouterr().out))
    assert found.macs == 12 * 9 * 14 * 14 + 8 * 12 * 9 * 12 * 12 + 80
    assert [row.batch for row in found.latency] == [3]
    assert found.quality is not None


def test_train_then_run_then_measure(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way by command: what comes out opens again and is what was measured."""
    quick = ["--data", "digits", "--steps", "6", "--batch-size", "32", "--evaluate-every", "3"]
    assert call("train", net, "--out", tmp_path / "dense", *quick, "--lr", "0.01") == 0
    weights = tmp_path / "dense" / "bundle" / "model.safetensors"
    assert call("run", net, "--weights", weights, "--target", "macs=0.5", "--out", tmp_path / "small", *quick) == 0
    assert "change" in capsys.readouterr().out
    result = json.loads((tmp_path / "small" / "result.json").read_text())
    assert result["pruned"]["macs"] <= 0.5 * result["dense"]["macs"]
    file = tmp_path / "small" / result["bundle"]
    assert call("measure", net, "--weights", file, "--data", "digits", "--seconds", "0.02", "--json", "-") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["quality"] == result["pruned"]["quality"]
    assert again["parameters"] == result["pruned"]["parameters"]
    # a finished run is not done again
    assert call("run", net, "--weights", weights, "--target", "macs=0.5", "--out", tmp_path / "small", *quick) == 0
    assert call("run", net, "--weights", weights, "--target", "macs=0.4", "--out", tmp_path / "small", *quick) == 2
    assert "another run" in capsys.readouterr().err


def test_doctor_tries_every_group_and_hands_over(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", net, "--ratio", 0.5, "--json", tmp_path / "d.json") == 0
    text = capsys.readouterr().out
    assert "| `0` | 12 | 0.50 |" in text
    row = json.loads((tmp_path / "d.json").read_text())
    assert row["well"]
    assert [s["step"] for s in row["steps"]][-4:] == ["load", "comb", "examine", "save, open"]
    found = Findings.from_dict(row["findings"])
    assert [(r.group, r.units, r.forward, r.backward, r.reload) for r in found.rows if r.certified] == [("0", 12, True, True, True), ("3", 8, True, True, True)]


def test_doctor_says_in_one_line_what_cannot_be_done(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "timm:resnet19") == 2
    said = capsys.readouterr()
    assert "FAIL  load" in said.out
    assert said.err.count("\n") == 1
    assert "resnet19" in said.err
    (tmp_path / "net.py").write_text(BRANCHING)
    for command in ("doctor", "comb"):
        assert call(command, f"{tmp_path}/net.py:make") == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert "Branching cannot be traced at net.py:9 in forward" in said.err
    assert call("comb", net, "--timeout", 0.0001) == 2
    assert "tracing did not end within 0.0001 s" in capsys.readouterr().err


BRANCHING = """
import torch

class Branching(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
    def forward(self, x):
        if self.fc(x).sum() > 0:
            return x
        return -x

def make():
    return Branching(), torch.randn(2, 4)
"""


def test_doctor_locks_a_group_that_fails_and_exits_with_1(net: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Surgery that forgets the batch norm: the group around it cannot run, the other one is still handed over."""
    import cpd.comb.mill

    real = cpd.comb.mill.prune

    def prune(*arguments: Any) -> nn.Module:
        network = real(*arguments)
        if len(network.state_dict()["0.weight"]) < 12:
            network.get_submodule("1").running_mean = torch.zeros(12)
        return network

    monkeypatch.setattr("cpd.comb.mill.prune", prune)
    assert call("doctor", net, "--json", "-") == 1
    row = json.loads(capsys.readouterr().out)
    assert Findings.from_dict(row["findings"]).failed == ("0",)
    assert [s["ok"] for s in row["steps"]][-4:] == [True, True, False, True]


def test_doctor_fails_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "file" / "below"))
    assert call("doctor") == 2
    assert "FAIL  workspace" in capsys.readouterr().out


MISTAKES = {
    "unknown model": (["comb", "timm:resnet19"], "resnet18"),
    "unknown setting": (["comb", "timm:test_resnet", "--set", "num_clases=3"], "num_clases"),
    "no value": (["comb", "timm:test_resnet", "--set", "num_classes"], "NAME=VALUE"),
    "no data set": (["measure", *MODEL, "--data", "digit"], "no data set"),
    "no weights": (["comb", *MODEL, "--weights", "nowhere.pt"], "nowhere.pt"),
    "ratio": (["plan", *MODEL, "--ratio", "conv1.0=1.5"], "outside 0..1"),
    "ratio of words": (["plan", *MODEL, "--ratio", "conv1.0=half"], "NAME=NUMBER"),
    "target": (["plan", *MODEL, "--target", "macs=3"], "outside 0..1"),
    "target of another name": (["plan", *MODEL, "--target", "speed=0.3"], "macs"),
    "no goal": (["plan", *MODEL], "--target"),
    "criterion": (["score", *MODEL, "--criterion", "luck"], "fisher"),
    "no plan": (["run", *MODEL, "--data", "digits", "--plan", "nowhere.json", "--out", "x"], "nowhere.json"),
    "gpu": (["measure", *MODEL, "--device", "cuda:63"], "cuda:63"),
    "device": (["measure", *MODEL, "--device", "gpu"], "gpu"),
    "batch": (["measure", *MODEL, "--batch", "0"], "--batch"),
    "unwritable": (["comb", *MODEL, "--json", "/proc/none/c.json"], "/proc/none/c.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, word = MISTAKES[case]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1, captured.err
    assert word in captured.err


def test_a_plan_for_another_model_is_refused_before_training(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", net, "--ratio", "*=0.5", "--criterion", "l2", "--out", tmp_path / "p.json", "--no-certify") == 0
    capsys.readouterr()
    assert call("run", *MODEL, "--data", "digits", "--plan", tmp_path / "p.json", "--out", tmp_path / "r", "--steps", 2) == 2
    assert "another model" in capsys.readouterr().err


def test_weights_of_another_architecture_name_the_keys(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    assert call("comb", net, "--weights", tmp_path / "w.pt") == 2
    assert "0.weight" in capsys.readouterr().err


def test_values_are_read_as_python_writes_them() -> None:
    assert [literal(t) for t in ("3", "0.5", "true", "None", "[1, 2]", "(1, 2)", "relu", "1e-3")] == [3, 0.5, True, None, [1, 2], [1, 2], "relu", 1e-3]
    assert pair("act = gelu", "--set") == ("act", "gelu")
    assert share("a=b.conv=0.5", "--ratio") == ("a=b.conv", 0.5)
    for text in ("x", "=3"):
        with pytest.raises(RunError):
            pair(text, "--set")
    for text in ("macs", "=0.5", "macs=nan"):
        with pytest.raises(PlanError):
            share(text, "--target")


def test_columns_line_up() -> None:
    assert table([("a", "n"), ("long", "10"), ("b", "5")], right=(1,)) == "a      n\n----  --\nlong  10\nb      5"


def test_a_bar_is_silent_for_what_is_quick_and_plain_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), 100.0
    monkeypatch.setattr("cpd.cli.progress.time.monotonic", lambda: now)
    bar = Bar("reading", stream)
    bar(1, 4)
    assert stream.getvalue() == ""
    now = 130.0
    bar(1, 4)
    now = 131.0
    bar(2, 4)  # too soon for another line
    bar(4, 4)
    assert stream.getvalue().splitlines() == ["reading 1/4, 0:30, 1:30 left", "reading 4/4, 0:31"]
