"""The script that Torch-Pruning runs: its network must be as large as ours, and give the same answers."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import cpd
from cpd.export.rival import torch_pruning_script

tp = pytest.importorskip("torch_pruning", reason="the rival is not installed; benchmarks/requirements.txt names it")


def test_torch_pruning_cuts_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    model, inputs = cpd.load_model("timm:resnet18", settings={"num_classes": 10, "img_size": 64})
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, 0.5)
    text = torch_pruning_script(comb.record, plan, "timm:resnet18", {"num_classes": 10, "img_size": 64}, (1, 3, 64, 64))
    (tmp_path / "script.py").write_text(text)
    save_file(model.state_dict(), tmp_path / "dense.safetensors")
    found = runpy.run_path(str(tmp_path / "script.py"))
    kept: list[torch.nn.Module] = []
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: kept.append(create(*a, **k)) or kept[-1])
    monkeypatch.setattr("sys.argv", ["script.py", str(tmp_path / "dense.safetensors")])
    found["main"]()
    ours = cpd.prune(model, comb, plan)
    assert found["LEFT_OUT"] == {}
    assert sum(p.numel() for p in ours.parameters()) == found["PARAMETERS"]
    assert f"{found['PARAMETERS']:,} parameters are left" in capsys.readouterr().out
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(kept[-1].eval()(x), ours(x))


@pytest.mark.parametrize(
    "spec, settings",
    [
        ("timm:test_resnet", {"num_classes": 10, "in_chans": 1, "img_size": 32}),
        ("smp:Unet/tu-test_resnet", {"num_classes": 5, "img_size": 32, "encoder_depth": 3, "decoder_channels": [16, 16, 8]}),
    ],
)
def test_the_script_runs_by_itself(tmp_path: Path, spec: str, settings: dict[str, object]) -> None:
    """In a process that knows nothing of this project, as whoever gets the folder runs it."""
    model, inputs = cpd.load_model(spec, settings=settings)
    comb = cpd.comb(model, inputs)
    text = torch_pruning_script(comb.record, cpd.uniform_plan(comb, 0.5), spec, settings, tuple(inputs[0].shape))
    (tmp_path / "script.py").write_text(text)
    save_file(model.state_dict(), tmp_path / "dense.safetensors")
    done = subprocess.run([sys.executable, "script.py", "dense.safetensors"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "parameters are left; the plan expects" in done.stdout


def test_what_the_library_cannot_express_is_named() -> None:
    settings = {"num_classes": 10, "img_size": 32, "patch_size": 8, "depth": 1}
    model, inputs = cpd.load_model("timm:vit_tiny_patch16_224", settings=settings)
    comb = cpd.comb(model, inputs)
    text = torch_pruning_script(
        comb.record, cpd.uniform_plan(comb, 0.5), "timm:vit_tiny_patch16_224", settings, (1, 3, 32, 32)
    )
    assert "'blocks.0.mlp.fc1': [" in text
    left = text.partition("LEFT_OUT = ")[2].partition("PARAMETERS")[0]
    assert "blocks.0.attn" in left
    assert any(reason in left for reason in ("blocks must keep equal counts", "its units contain"))
