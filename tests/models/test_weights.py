"""Weights fit or the difference is named; nothing in a file runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import cpd
from cpd.errors import ModelError
from cpd.models.weights import fill, load_weights


def net(width: int = 4, classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, classes))


def same(a: nn.Module, b: nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("wrap", [
    lambda s: s,
    lambda s: {"state_dict": s, "epoch": 3},
    lambda s: {"model": s, "optimizer": {}},
    lambda s: {"state_dict": prefixed(s, "module."), "best_prec1": 91.7},
    lambda s: prefixed(s, "_orig_mod."),
    lambda s: prefixed(prefixed(s, "_orig_mod."), "module."),
    lambda s: {n: v for n, v in s.items() if not n.endswith("num_batches_tracked")},
], ids=["plain", "state_dict", "model", "DataParallel", "compiled", "both", "old"])
def test_checkpoints_as_people_save_them(tmp_path: Path, wrap: Any) -> None:
    source, target = net(seed=1), net(seed=2)
    torch.save(wrap(source.state_dict()), tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt", "net")
    assert same(source, target)


def test_half_precision_on_disk_fills_a_float32_model(tmp_path: Path) -> None:
    source, target = net(seed=1), net(seed=2)
    save_file({n: v.half() if v.is_floating_point() else v for n, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors", "net")
    assert {p.dtype for p in target.parameters()} == {torch.float32}
    assert torch.equal(target[0].weight, source[0].weight.half().float())


def test_another_architecture_is_told_key_by_key_and_changes_nothing() -> None:
    target, before = net(), net()
    other = {**net(width=6).state_dict(), "extra.weight": torch.zeros(1)}
    del other["0.bias"]
    with pytest.raises(ModelError) as caught:
        fill(target, other, "w.pt", "net.py:Net")
    text = str(caught.value)
    # by hand: 0.weight, the four of batch norm that have a channel axis, 3.weight
    assert "1 of 9 keys missing (0.bias)" in text
    assert "1 unexpected (extra.weight)" in text
    assert "6 of another shape" in text
    assert "0.weight is 6x1x3x3 in the file, 4x1x3x3 in the model" in text
    assert same(target, before)


def test_a_classifier_of_another_size_comes_with_its_cure() -> None:
    with pytest.raises(ModelError, match="--set num_classes=10"):
        fill(net(classes=3), net(classes=10).state_dict(), "w.pt", "net")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    target, before = net(seed=1), net(seed=1)
    state = net(seed=2).state_dict()
    state["3.weight"][1, 2] = value
    with pytest.raises(ModelError, match=r"3\.weight holds values that are not finite"):
        fill(target, state, "w.pt", "net")
    assert same(target, before)


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": net().state_dict(), "callback": Payload(mark)}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Payload(mark)))
    torch.save(net(), tmp_path / "module.pth")
    for name in ("zip.pt", "raw.pt", "module.pth"):
        with pytest.raises(ModelError, match="pickled|damaged"):
            load_weights(net(), tmp_path / name, "net")
    assert not mark.exists()


def test_damaged_files_are_one_line_each(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "good.pt")
    save_file(net().state_dict(), tmp_path / "good.safetensors")
    cases = {
        "empty.pt": b"", "page.pt": b"<html>not found</html>", "cut.pt": (tmp_path / "good.pt").read_bytes()[:900],
        "empty.safetensors": b"", "cut.safetensors": (tmp_path / "good.safetensors").read_bytes()[:-40],
        "header.safetensors": (1 << 60).to_bytes(8, "little") + b"{}", "noise.safetensors": bytes(range(256)) * 8,
        "model.onnx": b"x",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_weights(net(), tmp_path / name, "net")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("numbers.pt", "list.pt", "missing.pt"):
        with pytest.raises(ModelError, match=name):
            load_weights(net(), tmp_path / name, "net")


def test_load_model_takes_weights(tmp_path: Path) -> None:
    source, _ = cpd.load_model("timm:test_resnet", seed=5)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    loaded, _ = cpd.load_model("timm:test_resnet", weights=tmp_path / "w.pt")
    assert same(source, loaded)
    with pytest.raises(ModelError, match="timm:test_vit"):
        cpd.load_model("timm:test_vit", weights=tmp_path / "w.pt")
