"""What parity must notice: files that answer otherwise, and folders that are not its own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import networks
import onnx
import pytest
import torch
from torch import Tensor, nn

import cpd
from cpd.errors import ExportError, StorageError
from cpd.export.card import Card, card_text
from cpd.export.forms import Session
from cpd.export.handover import Story, check_formats, check_manifest, hand_over
from cpd.export.parity import compare
from cpd.export.result import Handover
from cpd.models.bundle import save_bundle

SHAPE = (2, 3, 12, 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, tuple[Tensor, ...], Handover]:
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    model = networks.Head(networks.Residual(), 8).eval()
    inputs = (torch.randn(SHAPE),)
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, 0.5)
    pruned = cpd.prune(model, comb, plan)
    file = save_bundle(folder / "bundle", pruned, "net.py:Net", {}, plan)
    story = Story("run-1", Card("net.py:Net"), plan, [{"step": 1, "kind": "cut"}], {"val/top1": ((0, 5), (0.5, 0.75))})
    return folder, pruned, inputs, hand_over(file, pruned, inputs, story, folder / "out", batches=(1, 4), seconds=0.05)


class Off(nn.Module):
    """Another network beside the right one."""

    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        if self.how == "nan":
            return y * float("nan")
        if self.how == "shape":
            return y[:, :-1]
        if self.how == "raises":
            raise RuntimeError("no such operator")
        return y + (1e-3 if self.how == "bias" else 1e-7) * y.abs().max()


@pytest.mark.parametrize(
    ("how", "word"),
    [("nan", "outputs differ by inf"), ("shape", "gives"), ("raises", "no such operator"), ("bias", "outputs differ")],
)
def test_a_form_that_answers_otherwise_is_not_verified(made, how: str, word: str) -> None:
    _, pruned, inputs, _ = made
    found = compare(pruned, {"bad": Off(pruned, how), "good": Off(pruned, "rounding")}, inputs, None)
    assert word in found.forms["bad"].verdict(None)
    assert found.forms["good"].verdict(None) == ""


def test_an_onnx_file_whose_weights_were_changed_is_found_out(made) -> None:
    folder, pruned, inputs, _ = made
    model = onnx.load(folder / "out" / "model.onnx")
    weight = next(t for t in model.graph.initializer if "fc.weight" in t.name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.05
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "changed.onnx")
    found = compare(pruned, {"onnx": Session(folder / "changed.onnx")}, inputs, None)
    assert "outputs differ" in found.forms["onnx"].verdict(None)


def test_every_form_is_timed_at_every_batch_size(made) -> None:
    _, _, _, found = made
    assert all([row.batch for row in form.latency] == [1, 4] for form in found.forms)
    assert [row.batch for row in found.eager] == [1, 4]


def test_result_and_manifest_read_back(made) -> None:
    folder, _, _, found = made
    out = folder / "out"
    assert Handover.from_dict(json.loads((out / "parity.json").read_text()), "parity.json") == found
    named = set(json.loads((out / "manifest.json").read_text())["files"])
    assert named == {path.name for path in out.iterdir()} - {"manifest.json"}
    assert (out / "metrics.csv").read_text().splitlines() == ["step,name,value", "0,val/top1,0.5", "5,val/top1,0.75"]
    text = (out / "network.py").read_text()
    (out / "network.py").write_text(text + "#")
    assert check_manifest(out) == ["network.py was changed"]
    (out / "network.py").write_text(text)
    assert check_manifest(out) == []


def test_another_hand_over_leaves_nothing_of_the_first_and_nothing_of_others_is_touched(made, tmp_path: Path) -> None:
    folder, pruned, inputs, _ = made
    bundle, story = folder / "bundle" / "model.safetensors", Story("again", Card("net.py:Net"))
    for formats in (("loader", "pt2"), ("loader",)):
        hand_over(bundle, pruned, inputs, story, tmp_path / "out", formats=formats, batches=(1,), seconds=0.02)
    assert not (tmp_path / "out" / "model.pt2").exists()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt, which no hand-over wrote"):
        hand_over(bundle, pruned, inputs, story, tmp_path / "out", formats=("loader",), batches=(1,), seconds=0.02)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "out" / "network.py").exists()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["files"]["../bundle"] = manifest["files"].pop("network.py")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="no file of this folder"):
        check_manifest(tmp_path / "out")


def test_what_cannot_be_written_is_said_and_the_rest_goes_on(made, tmp_path: Path) -> None:
    """A dense module is no graph: its source cannot be written out; ONNX and .pt2 still can."""
    folder, _, inputs, _ = made
    dense = networks.Head(networks.Residual(), 8).eval()
    file = save_bundle(tmp_path / "bundle", dense, "net.py:Net", {}, None)
    found = hand_over(
        file,
        copy.deepcopy(dense),
        inputs,
        Story("x", Card("net.py:Net")),
        tmp_path / "out",
        formats=("loader", "pt2"),
        batches=(1,),
        seconds=0.02,
    )
    verdict = {form.form: form.verified for form in found.forms}
    assert verdict == {"loader": False, "pt2": True}
    assert "nothing was cut" in found.forms[0].reason
    assert not found.verified
    assert "no: net.py:Net: nothing was cut" in card_text(Card("net.py:Net"), found)


def test_a_form_that_could_not_be_written_blocks_the_mark(made, tmp_path: Path, monkeypatch) -> None:
    """There is no file that could answer otherwise, and what was asked for is not there."""
    folder, pruned, inputs, _ = made

    def fails(*_: object) -> None:
        raise ExportError("aten::odd has no counterpart in ONNX.")

    monkeypatch.setattr("cpd.export.handover.write_onnx", fails)
    bundle, story = folder / "bundle" / "model.safetensors", Story("x", Card("net.py:Net"), report=lambda found: f"<p>{found.verified}</p>")
    for formats, verified in (("loader", "onnx"), False), (("onnx",), False), (("loader",), True):
        found = hand_over(bundle, pruned, inputs, story, tmp_path / "out", formats=formats, batches=(1,), seconds=0.02)
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert (found.verified, manifest["verified"]) == (verified, verified)
        assert (tmp_path / "out" / "report.html").read_text() == f"<p>{verified}</p>"
        assert {"report.html", "README.md", "metrics.csv", "history.json", "parity.json"} <= manifest["files"].keys()
    assert check_manifest(tmp_path / "out") == []


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ExportError, match="tflite.*loader, onnx, pt2"):
        check_formats(["onnx", "tflite"])
