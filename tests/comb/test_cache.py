"""A trace from disk is the trace that was made, and never that of another model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import Head, conv

import cpd
from cpd.comb import cache
from cpd.comb.cache import cached_trace
from cpd.comb.comb import comb
from cpd.comb.trace import trace
from cpd.comb.trace_file import trace_key
from cpd.prune.plan import uniform_plan
from cpd.prune.surgery import prune


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPD_CACHE", str(tmp_path / "traces"))
    return tmp_path / "traces"


def forbid(*_: object) -> None:
    raise AssertionError("traced again")


@pytest.mark.parametrize("spec", ["timm:test_resnet", "timm:test_vit", "timm:test_efficientnet"])
def test_the_second_comb_traces_nothing_and_finds_the_same(
    spec: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = cpd.load_model(spec)
    first = comb(model, inputs)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(cache, "trace", forbid)
    second = comb(model, inputs)
    assert second.model == first.model
    assert second.record.operators == first.record.operators
    assert [(g.name, g.width, g.blocks, g.reason, g.ties) for g in second.groups] == [
        (g.name, g.width, g.blocks, g.reason, g.ties) for g in first.groups
    ]
    plan = uniform_plan(first, 0.5)
    assert torch.equal(prune(model, second, plan)(*inputs), prune(model, first, plan)(*inputs))


def test_weights_do_not_matter_and_everything_else_does() -> None:
    def key(name: str, **settings: object) -> str:
        model, inputs = cpd.load_model(f"timm:{name}", settings=settings)
        return trace_key(model, inputs)

    same = key("test_resnet")
    model, inputs = cpd.load_model("timm:test_resnet")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert trace_key(model, inputs) == same
    assert trace_key(model, tuple(torch.cat([x, x]) for x in inputs)) != same
    assert trace_key(model.double(), tuple(x.double() for x in inputs)) != same
    assert key("test_resnet", num_classes=7) != same
    model.float().layer1[0].conv1.stride = (2, 2)
    assert trace_key(model, inputs) != same


def test_a_users_own_code_is_traced_every_time(folder: Path) -> None:
    model, inputs = Head(conv(3, 4), 4).eval(), (torch.randn(2, 3, 12, 12),)
    comb(model, inputs)
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("damage", [b"", b"\xff" * 200, b"{}" * 50])
def test_a_damaged_file_is_made_again(damage: bytes, folder: Path) -> None:
    model, inputs = cpd.load_model("timm:test_resnet")
    want = trace(model, inputs)
    cached_trace(model, inputs, 60)
    file = next(folder.iterdir())
    file.write_bytes(damage)
    assert cached_trace(model, inputs, 60).digest == want.digest
    assert len(file.read_bytes()) > 1000


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPD_CACHE", "/proc/nowhere")
    model, inputs = cpd.load_model("timm:test_resnet")
    assert cached_trace(model, inputs, 60).digest
