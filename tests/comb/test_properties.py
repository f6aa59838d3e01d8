"""Properties of the parts of combing, and certificates over networks that hypothesis makes up."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as hs
from torch import Tensor, nn

import cpd
from cpd.comb.boxes import Boxes, matched_axes, refine
from cpd.comb.certify import measure
from cpd.comb.comb import comb
from cpd.comb.labels import Atoms
from cpd.comb.rules import REWRITES, RULES, covered

SMALL_FAMILIES = [
    "test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_byobnet", "test_nfnet", "test_mambaout",
    "test_coatnet", "test_vit_relpos", "mobilenetv3_small_050", "regnetx_002", "repghostnet_050", "starnet_s050",
]  # fmt: skip


@given(pairs=hs.lists(hs.tuples(hs.integers(0, 30), hs.integers(0, 30)), max_size=40), step=hs.integers(1, 7))
def test_union_find_equals_merging_sets(pairs: list[tuple[int, int]], step: int) -> None:
    atoms = Atoms()
    atoms.new(31)
    sets = [{i} for i in range(31)]
    for i in range(0, len(pairs), step):
        chunk = pairs[i : i + step]
        atoms.union(np.array([a for a, _ in chunk]), np.array([b for _, b in chunk]))
        for a, b in chunk:
            merged = sets[a] | sets[b]
            for member in merged:
                sets[member] = merged
    roots = atoms.roots()
    for a in range(31):
        for b in range(31):
            assert (roots[a] == roots[b]) == (b in sets[a])


shapes = hs.lists(hs.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)


@given(before=shapes, data=hs.data())
def test_matched_axes_hold_equal_products(before: list[int], data: hs.DataObject) -> None:
    after = data.draw(hs.permutations(before))
    for ins, outs in matched_axes(before, after):
        assert prod(before[i] for i in ins) == prod(after[o] for o in outs)


@given(one=hs.lists(hs.integers(2, 6), min_size=1, max_size=3), seed=hs.integers(0, 99))
def test_refinement_refines_both(one: list[int], seed: int) -> None:
    total = prod(one)
    divisors = [d for d in range(2, total) if total % d == 0]
    other = [total]
    if divisors:
        d = divisors[seed % len(divisors)]
        other = [d, total // d]
    fine = refine(one, other)
    if fine is not None:
        assert prod(fine) == total
        for dims in (one, other):
            strides = {prod(dims[i:]) for i in range(len(dims))}
            assert strides <= {prod(fine[i:]) for i in range(len(fine))}


@given(sizes=hs.lists(hs.sampled_from([2, 3, 4]), min_size=2, max_size=3), labelled=hs.integers(1, 7))
def test_reshaping_there_and_back_returns_the_labels(sizes: list[int], labelled: int) -> None:
    atoms = Atoms()
    boxes = Boxes(atoms)
    labels = [atoms.new(n) if labelled >> i & 1 else None for i, n in enumerate(sizes)]
    flat = boxes.reshape(labels, sizes, [prod(sizes)], "there")
    back = boxes.reshape(flat, [prod(sizes)], sizes, "back")
    for a, b in zip(labels, back, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(atoms.find(a), atoms.find(b))


def test_every_rewrite_has_a_rule_and_every_rule_a_family() -> None:
    assert set(REWRITES) <= set(RULES)
    assert set(covered().values()) == {
        "elementwise", "contraction", "convolution", "normalise", "reshape", "movement", "expansion", "reduction", "spatial",
        "recurrent",
    }  # fmt: skip


class Random(nn.Module):
    """A network drawn step by step: convolutions, norms, residual sums, products, concatenations, splits."""

    def __init__(self, steps: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers, self.plan, widths = nn.ModuleList(), [], [8]
        for kind, pick, width in steps:
            source = pick % len(widths)
            inner = widths[source]
            partner = next((i for i, w in enumerate(widths) if w == inner and i != source), None)
            layer: nn.Module = nn.Identity()
            if kind == "conv":
                layer, inner = nn.Conv2d(inner, width, 3, padding=1), width
            elif kind == "depthwise":
                layer = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
            elif kind == "grouped":
                layer = nn.Conv2d(inner, inner, 1, groups=2)
            elif kind == "norm":
                layer = nn.BatchNorm2d(inner)
            elif kind == "group_norm":
                layer = nn.GroupNorm(2, inner)
            elif kind == "cat":
                inner = inner + widths[0]
            elif kind == "half":
                inner = inner // 2
            elif kind in ("add", "mul") and partner is None:
                kind = "relu"
            self.layers.append(layer)
            self.plan.append((kind, source, partner))
            widths.append(inner)
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for layer, (kind, source, partner) in zip(self.layers, self.plan, strict=True):
            y = values[source]
            if kind == "add":
                y = y + values[partner]
            elif kind == "mul":
                y = y * values[partner].sigmoid()
            elif kind == "cat":
                y = torch.cat([values[0], y], 1)
            elif kind == "half":
                a, b = y.chunk(2, 1)
                y = a * b.tanh()
            elif kind == "relu":
                y = y.relu()
            elif kind == "shuffle":
                n, c, h, w = y.shape
                y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            else:
                y = layer(y)
            values.append(y)
        return self.head(values[-1].mean((2, 3)))


KINDS = ["conv", "conv", "depthwise", "grouped", "norm", "group_norm", "add", "mul", "cat", "half", "relu", "shuffle"]
steps = hs.lists(
    hs.tuples(hs.sampled_from(KINDS), hs.integers(0, 9), hs.sampled_from([8, 12])), min_size=1, max_size=9
).filter(lambda s: sum(kind == "half" for kind, _, _ in s) <= 1)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_random_networks_are_certified(steps: list[tuple[str, int, int]]) -> None:
    torch.manual_seed(0)
    model, inputs = Random(steps).eval(), (torch.randn(2, 3, 6, 6),)
    assert [c for c in measure(model, inputs, comb(model, inputs)) if not c.passed] == []


@pytest.mark.parametrize("name", SMALL_FAMILIES)
def test_real_families_are_certified(name: str) -> None:
    model, _ = cpd.load_model(f"timm:{name}")
    inputs = (
        (torch.randn(2, 3, 64, 64),) if "vit" not in name and "coat" not in name else cpd.load_model(f"timm:{name}")[1]
    )
    result = comb(model, inputs)
    checks = measure(model, inputs, result)
    assert checks
    assert [c for c in checks if not c.passed] == []
    assert result.record.unknown == ()
