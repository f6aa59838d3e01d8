"""Plans for a target: the target is met, hand-set groups stay, and a shortfall is said."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

import cpd
from cpd.comb.comb import comb
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.order import downwards
from cpd.prune.plan import Constraints, plan_ratios
from cpd.prune.solve import plan_for_target


@cache
def record(name: str) -> CombRecord:
    return comb(*cpd.load_model(f"timm:{name}")).record


def scores(of: CombRecord, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {g.name: rng.random(g.width) + 0.01 for g in of.groups}


@settings(max_examples=20, deadline=None)
@given(
    name=hs.sampled_from(["test_resnet", "test_vit", "test_efficientnet"]),
    quantity=hs.sampled_from(["macs", "params"]),
    share=hs.floats(0.1, 0.95),
    multiple=hs.sampled_from([1, 4, 8]),
    seed=hs.integers(0, 99),
)
def test_the_target_is_met_or_the_shortfall_is_said(
    name: str, quantity: str, share: float, multiple: int, seed: int
) -> None:
    of = record(name)
    model = CostModel(of)
    plan = plan_for_target(of, scores(of, seed), {quantity: share}, Constraints(multiple=multiple))
    plan.check(of)
    reached = model.price(plan.keep).share_of(model.dense)[quantity]
    assert (reached <= share) == (plan.shortfall == "")
    for group, row in zip(of.groups, plan.groups, strict=True):
        kept = len(row.keep)
        assert kept == group.width or kept % np.lcm(group.step, multiple) == 0 or multiple * group.step > group.width
        assert all(len(plan.keep[other]) == kept for other in group.tied)


def test_equal_scores_shrink_all_groups_at_one_pace() -> None:
    of = record("test_vit")
    plan = plan_for_target(of, {g.name: np.ones(g.width) for g in of.groups}, {"macs": 0.4}, chunks=32)
    ratios = {r.group: r.granted for r in plan.groups if of.by_name[r.group].prunable and r.width >= 32}
    assert max(ratios.values()) - min(ratios.values()) < 0.2


def test_hand_set_groups_are_not_touched() -> None:
    of = record("test_resnet")
    first, second = [g.name for g in of.groups if g.prunable][:2]
    given_scores = scores(of, 0)
    plan = plan_for_target(of, given_scores, {"macs": 0.3}, fixed={first: 0.0, second: 0.5})
    by_hand = plan_ratios(of, {first: 0.0, second: 0.5}, given_scores)
    for name in (first, second):
        assert plan.keep[name] == by_hand.keep[name]


def test_a_target_that_cannot_be_met_says_by_how_much_and_why() -> None:
    of = record("test_resnet")
    plan = plan_for_target(of, scores(of, 0), {"macs": 0.05}, Constraints(max_ratio=0.3))
    assert "above the target" in plan.shortfall
    assert "max_ratio 0.3" in plan.shortfall


@pytest.mark.parametrize("target", [{"macs": 0.0}, {"macs": 1.2}, {"time": 0.5}, {}, {"macs": 0.5, "params": 0.5}])
def test_targets_that_make_no_sense_are_refused(target: dict[str, float]) -> None:
    of = record("test_resnet")
    with pytest.raises(PlanError, match="target"):
        plan_for_target(of, scores(of, 0), target)


def test_the_queue_gives_what_trying_every_group_would() -> None:
    """Lazy greedy against the plain loop that prices every group at every step."""
    from cpd.prune.order import _narrower, worth

    of = record("test_resnet")
    model, given_scores = CostModel(of), scores(of, 1)
    keep = {g.name: tuple(range(g.width)) for g in of.groups}
    for number, cut in enumerate(downwards(model, given_scores, keep, "macs", Constraints(), 8)):
        if number == 25:
            break
        best = min(
            (worth(model, given_scores, g, keep, offer, "macs"), g.name)
            for g in of.groups
            if g.prunable and (offer := _narrower(model, g, given_scores, keep, "macs", Constraints(), 8))
        )
        assert cut.worth == pytest.approx(best[0])
        keep[cut.group] = cut.keep
