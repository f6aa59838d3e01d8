"""Sizes kept up while a network shrinks and grows, against counting all atoms anew."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as hs

import cpd
from cpd.comb.comb import comb
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.prune.living import Living, leaving_order
from cpd.prune.plan import keep_top


@cache
def record(name: str) -> CombRecord:
    return comb(*cpd.load_model(f"timm:{name}")).record


@settings(max_examples=12, deadline=None)
@given(
    name=hs.sampled_from(["test_resnet", "test_vit", "test_byobnet"]), seed=hs.integers(0, 999), moves=hs.integers(1, 8)
)
def test_moves_up_and_down_end_where_counting_anew_does(name: str, seed: int, moves: int) -> None:
    of, rng = record(name), np.random.default_rng(seed)
    model = CostModel(of)
    values = {g.name: rng.random(g.width) for g in of.groups}
    living = Living(of, values, {})
    for _ in range(moves):
        some = [g for g in of.groups if rng.random() < 0.5]
        counts = {g.name: g.step * int(rng.integers(1, g.width // g.step + 1)) for g in some}
        looked = living.sizes_at(counts)
        living.move(counts)
        keep = {n: living.keep(n) for n in living.counts}
        assert np.array_equal(looked, living.sizes)
        assert np.array_equal(living.sizes, model.sizes(model.dead(keep)))


@settings(max_examples=50, deadline=None)
@given(blocks=hs.integers(1, 4), width=hs.integers(1, 12), seed=hs.integers(0, 999))
def test_units_leave_in_the_order_of_keep_top(blocks: int, width: int, seed: int) -> None:
    from cpd.comb.group import Group

    rng = np.random.default_rng(seed)
    ids = tuple(rng.permutation(np.repeat(np.arange(blocks), width)).tolist()) if blocks > 1 else None
    group = Group("g", blocks * width, (), blocks=ids)
    values = rng.integers(0, 4, group.width).astype(float)  # with many ties
    order = leaving_order(group, values)
    for per_block in range(1, width + 1):
        kept = per_block * blocks
        assert tuple(sorted(order[group.width - kept :].tolist())) == keep_top(values, kept, ids)
