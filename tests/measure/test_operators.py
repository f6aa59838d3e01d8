"""The operators' table: what they handle against the cut network itself, terms that were known before, and a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

import cpd
from cpd.comb.comb import comb
from cpd.measure.operators import AGAIN, FITTED, HELD_OUT, profile
from cpd.measure.quantities import Product, Quantities, take_inventory
from cpd.measure.terms import as_terms, columns, fit, whole
from cpd.measure.timings import Timings
from cpd.prune.cost import CostModel
from cpd.prune.latency import LatencyModel, LatencyTable
from cpd.prune.plan import plan_ratios


class Sizes(Interpreter):
    """Elements that every node really writes."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, list[int]] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        values = [result] if isinstance(result, Tensor) else result if isinstance(result, (list, tuple)) else []
        self.seen[n.name] = [v.numel() for v in values if isinstance(v, Tensor)]
        return result


@pytest.mark.parametrize("spec", ["timm:test_vit", "timm:test_efficientnet", "timm:test_convnext"])
def test_what_operators_write_is_what_the_cut_network_writes(spec: str) -> None:
    model, inputs = cpd.load_model(spec)
    found = comb(model, inputs)
    inventory = take_inventory(found, batch=3)
    rng = np.random.default_rng(1)
    plan = plan_ratios(found, {g.name: float(rng.random() * 0.8) for g in found.groups if g.prunable})
    network = cpd.prune(model, found, plan)
    sizes = inventory.sizes(CostModel(found.record).dead(plan.keep))
    runner = Sizes(network)
    runner.run(*(x[:1].repeat(3, *[1] * (x.ndim - 1)) for x in inputs))
    compared = 0
    for operator in inventory.operators:
        if operator.name in runner.seen:
            expected = [p.constant * np.prod(sizes[list(p.extents)]) for p in operator.writes]
            assert expected == pytest.approx(runner.seen[operator.name]), operator.name
            compared += 1
    assert compared == len(inventory.operators)


def linear() -> Quantities:
    """A matrix product of 4 rows: extent 0 is what it reads, extent 1 what it writes."""
    return Quantities(
        name="linear",
        module="",
        kind="linear",
        target="aten.linear.default",
        writes=(Product(4.0, (1,)),),
        reads=(Product(4.0, (0,)),),
        weighs=(Product(1.0, (0, 1)),),
        macs=(Product(4.0, (0, 1)),),
        key="linear",
    )


def test_terms_that_were_known_are_found_again() -> None:
    operator, rng = linear(), np.random.default_rng(0)
    sizes = rng.integers(3, 120, (30, 2)).astype(float)

    def truth(size: np.ndarray) -> float:
        return 0.02 + 3e-6 * 4 * size[0] * np.ceil(size[1] / 16) * 16

    values = np.array([[c.at(s) for c in columns(operator)] for s in sizes])
    terms = as_terms(operator, fit(values, np.array([truth(s) for s in sizes])))
    for size in ([64.0, 65.0], [100.0, 80.0], [7.0, 1.0]):
        rounded = [
            t.ms * np.prod([np.ceil(size[e] / m) * m for e, m in zip(t.extents, t.multiples, strict=True)])
            for t in terms
        ]
        assert sum(rounded) == pytest.approx(truth(np.array(size)), rel=1e-3)
    assert all(t.ms >= 0 for t in terms)


def test_what_a_pass_takes_beside_its_operators() -> None:
    sums = [1.0, 2.0, 3.0, 5.0, 8.0]
    assert whole(sums, [s + 0.7 for s in sums]) == pytest.approx((0.7, 1.0))
    assert whole(sums, [0.4 + 1.3 * s for s in sums]) == pytest.approx((0.4, 1.3))
    assert whole([2.0], [3.0]) == pytest.approx((1.0, 1.0))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 48, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(48, 10),
    ).eval()  # fmt: skip


def test_a_profile_prices_the_network_and_the_next_one_times_less(tmp_path: Path) -> None:
    model, inputs = net(), (torch.randn(2, 3, 24, 24),)
    model.train()
    found = comb(model, inputs)
    steps: list[tuple[int, int]] = []

    def profiled() -> LatencyTable:
        steps.clear()
        return profile(
            model, inputs, found, batch=2, seconds=0.5, timings=Timings("here", tmp_path),
            progress=lambda done, total: steps.append((done, total)),
        )  # fmt: skip

    first = profiled()
    assert steps[-1] == (1 + FITTED + HELD_OUT, 1 + FITTED + HELD_OUT)
    assert model.training, "the model's mode is put back"
    assert (len(first.checks), first.batch, first.model) == (HELD_OUT, 2, found.model)
    assert {"conv2d", "batch_norm", "relu", "linear"} <= {o.kind for o in first.operators}
    prices = LatencyModel(found.record, first)
    whole_ms, half = prices.estimate({}), prices.estimate(cpd.uniform_plan(found, ratio=0.5).keep)
    assert half.value < whole_ms.value
    # The clock of a shared machine: an order of magnitude, no more. benchmarks/latency.py holds the figures.
    assert 1 / 3 < whole_ms.value / first.dense_ms < 3

    again = profiled()
    assert steps[-1][1] == 1 + AGAIN + HELD_OUT, "every call was timed before on this machine"
    assert [o.name for o in again.operators]


def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path) -> None:
    timings = Timings("here", tmp_path)
    timings.add("call", np.ones((3, 5)))
    timings.save()
    assert len(Timings("here", tmp_path).of("call", 4)) == 3
    assert len(Timings("elsewhere", tmp_path).of("call", 4)) == 0
    timings.path.write_bytes(b"no archive")
    assert len(Timings("here", tmp_path).of("call", 4)) == 0
