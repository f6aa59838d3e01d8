"""The guard lets timm be imported, and keeps its hands off a torchvision whose binary loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cpd import _torchvision


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_timm_and_torchmetrics_import_after_the_guard() -> None:
    out = run("import cpd._torchvision\nimport timm, torchmetrics, torchvision.transforms.v2\nprint(timm.create_model('test_vit')(__import__('torch').randn(1, 3, 160, 160)).shape[1])")
    assert out.strip() == "1000"


def test_declared_operators_have_torchvisions_own_schemas() -> None:
    """torchvision registers its fake kernels for exactly these names, and its Python wrapper calls them so."""
    run(
        "import cpd._torchvision as guard, torch\n"
        "from torchvision.ops import nms\n"
        "schema = str(torch.ops.torchvision.nms.default._schema)\n"
        "assert schema == 'torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor', schema\n"
    )


def test_nothing_is_declared_where_the_binary_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert _torchvision._guard() is None
    assert len(loaded) == 1
    assert Path(loaded[0]).name.startswith("_C")


def test_a_binary_that_does_not_load_is_seen(tmp_path: Path) -> None:
    (tmp_path / "_C.so").write_bytes(b"not a library")
    assert not _torchvision.binary_loads(tmp_path)
    assert not _torchvision.binary_loads(tmp_path / "nowhere")
