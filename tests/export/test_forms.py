"""Handed-over files against the pruned module they were made from: bit for bit where torch runs both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networks
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import cpd
from cpd.export.card import Card
from cpd.export.handover import Story, check_manifest, hand_over
from cpd.export.result import Handover
from cpd.models.bundle import save_bundle

INDEPENDENT = """
import sys
sys.modules["cpd"] = None  # importing the project would fail
from safetensors.torch import load_file, save_file
sys.path.insert(0, sys.argv[1])
from load import load
found = load(sys.argv[1])
given = load_file(sys.argv[2])
from torch.utils import _pytree as pytree
eager = {str(i): y.detach() for i, y in enumerate(pytree.tree_leaves(found(given["x"])))}
found.train()
torch = sys.modules["torch"]
torch.manual_seed(3)
sum(y.square().sum() for y in pytree.tree_leaves(found(given["x"]))).backward()
grads = {f"grad.{n}": p.grad for n, p in found.named_parameters() if p.grad is not None}
save_file({**eager, **grads, **{f"after.{n}": t.clone() for n, t in found.named_buffers()}}, sys.argv[3])
"""

ALL = ("loader", "onnx", "pt2")
NETWORKS: dict[str, tuple[Callable[[], nn.Module] | None, tuple[int, ...], tuple[str, ...]]] = {
    "residual": (lambda: networks.Head(networks.Residual(), 8), (2, 3, 12, 12), ALL),
    "library attention": (networks.Library, (2, 7, 5), ALL),
    "dict of outputs": (networks.Structured, (2, 3, 12, 12), ("loader", "pt2")),
    # tables that no state_dict holds, and stochastic depth
    "timm:swin_tiny_patch4_window7_224": (None, (2, 3, 64, 64), ("loader",)),
}


def handed(name: str, folder: Path) -> tuple[nn.Module, Tensor, Handover]:
    torch.manual_seed(0)
    build, shape, formats = NETWORKS[name]
    if build is None:
        model, _ = cpd.load_model(name, settings={"img_size": 64, "depths": [1, 1, 2, 1], "drop_path_rate": 0.2})
    else:
        model = build().eval()
    inputs = (torch.randn(shape),)
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, 0.5)
    pruned = cpd.prune(model, comb, plan)
    file = save_bundle(folder / "bundle", pruned, name, {}, plan)
    found = hand_over(
        file,
        pruned,
        inputs,
        Story("run-1", Card(name), plan),
        folder / "out",
        formats=formats,
        batches=(1,),
        seconds=0.05,
    )
    return pruned, inputs[0], found


@pytest.mark.parametrize("name", NETWORKS)
def test_opens_without_the_project_and_trains_alike(name: str, tmp_path: Path) -> None:
    pruned, x, found = handed(name, tmp_path)
    x = torch.randn((3, *x.shape[1:]), generator=torch.Generator().manual_seed(1))  # another batch size
    save_file({"x": x}, tmp_path / "x.safetensors")
    done = subprocess.run(
        [sys.executable, "-I", "-c", INDEPENDENT, str(tmp_path / "out"), str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]

    from safetensors.torch import load_file

    theirs = load_file(tmp_path / "y.safetensors")
    ours = pytree.tree_leaves(pruned(x))
    for i, y in enumerate(ours):
        assert torch.equal(theirs[str(i)], y), f"output {i}"
    pruned.train()
    torch.manual_seed(3)
    sum(y.square().sum() for y in pytree.tree_leaves(pruned(x))).backward()
    grads = {n: p.grad for n, p in pruned.named_parameters() if p.grad is not None}
    assert grads
    for n, gradient in grads.items():
        torch.testing.assert_close(theirs[f"grad.{n}"], gradient, msg=n)
    for n, t in pruned.named_buffers():
        torch.testing.assert_close(theirs[f"after.{n}"], t, msg=n)
    assert {form.form: form.reason for form in found.forms if not form.verified} == {}
    assert found.verified
    assert check_manifest(tmp_path / "out") == []
