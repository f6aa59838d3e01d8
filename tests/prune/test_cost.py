"""Costs against torch's own counter, against the cut network itself, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import cpd
from cpd.comb.comb import comb
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.prune.plan import plan_ratios
from cpd.prune.surgery import prune

MODELS = ["timm:test_resnet", "timm:test_vit", "timm:test_efficientnet", "timm:test_convnext", "timm:test_byobnet"]


def counted(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """MACs a sample by torch's counter, which counts 2 FLOPs a MAC and knows attention by its plain kernel."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() / 2 / inputs[0].shape[0]


@pytest.mark.parametrize("spec", MODELS)
def test_cost_equals_the_counter_and_the_surgery_on_random_plans(spec: str) -> None:
    model, inputs = cpd.load_model(spec)
    result = comb(model, inputs)
    price = CostModel(result.record)
    assert price.dense.macs == pytest.approx(counted(model, inputs), rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(20):
        ratios = {g.name: float(rng.random() * 0.9) for g in result.groups if g.prunable and rng.random() < 0.8}
        plan = plan_ratios(result, ratios)
        pruned = prune(model, result, plan)
        cost = price.price(plan.keep)
        assert cost.parameters == sum(p.numel() for p in pruned.parameters())
        assert cost.macs == pytest.approx(counted(pruned, inputs), rel=1e-9)


def test_a_convolution_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 1024, 10))
    record = comb(model.eval(), (torch.randn(2, 3, 32, 32),)).record
    price = CostModel(record)
    assert price.dense.macs == 442_368 + 16 * 1024 * 10
    name = next(g.name for g in record.groups if g.prunable)
    half = price.price({name: tuple(range(8))})
    assert half.macs == (442_368 + 16 * 1024 * 10) / 2
    assert half.parameters == 8 * 27 + 8 + 8 * 1024 * 10 + 10


def test_shares_are_what_goes_when_a_group_goes() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    record = comb(model.eval(), (torch.randn(2, 4),)).record
    name = next(g.name for g in record.groups if g.prunable)
    assert CostModel(record).shares[name] == {"macs": 1.0, "params": pytest.approx((32 + 8 + 16) / 58)}


def test_a_record_survives_the_disk(tmp_path: object) -> None:
    from pathlib import Path

    model, inputs = cpd.load_model("timm:test_vit")
    record = comb(model, inputs).record
    record.save(Path(str(tmp_path)))
    again = CombRecord.load(Path(str(tmp_path)))
    plan = cpd.uniform_plan(record, ratio=0.4)
    assert cpd.uniform_plan(again, ratio=0.4) == plan
    assert CostModel(again).price(plan.keep) == CostModel(record).price(plan.keep)
    for mine, theirs in zip(record.groups, again.groups, strict=True):
        assert (mine.name, mine.blocks, mine.parent, mine.ties) == (
            theirs.name,
            theirs.blocks,
            theirs.parent,
            theirs.ties,
        )
        assert all(np.array_equal(a.index, b.index) for a, b in zip(mine.slices, theirs.slices, strict=True))


def test_costs_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import cpd, sys, cpd.prune.cost, cpd.prune.solve, cpd.comb.record; cpd.uniform_plan; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
