"""Plans for a target: the target is met, hand-set groups stay, and a shortfall is said."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

import cpd
from cpd.comb.comb import comb
from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.order import downwards
from cpd.prune.plan import Constraints, keep_top, legal_widths, plan_ratios
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
    assert "the nearest that can is macs=" in plan.shortfall
    assert "max_ratio 0.3" in plan.shortfall


@pytest.mark.parametrize("target", [{"macs": 0.0}, {"macs": 1.2}, {"time": 0.5}, {}, {"macs": 0.5, "params": 0.5}])
def test_targets_that_make_no_sense_are_refused(target: dict[str, float]) -> None:
    of = record("test_resnet")
    with pytest.raises(PlanError, match="target"):
        plan_for_target(of, scores(of, 0), target)


def test_the_queue_gives_what_trying_every_group_would() -> None:
    """Lazy greedy on sizes kept up to date, against a plain loop that prices every group's next chunk anew."""
    of = record("test_resnet")
    model, given_scores, chunks = CostModel(of), scores(of, 1), 8
    keep = {g.name: tuple(range(g.width)) for g in of.groups}

    def share(kept: dict[str, tuple[int, ...]]) -> float:
        return model.price(kept).macs / model.dense.macs

    def offer(g: Group) -> tuple[float, str, tuple[int, ...]] | None:
        here = keep[g.name]
        legal = [w for w in legal_widths(g, Constraints()) if w < len(here)]
        if not legal:
            return None
        to = max((w for w in legal if w <= len(here) - max(1, g.width // chunks)), default=legal[0])
        values = np.full(g.width, -np.inf)
        values[list(here)] = given_scores[g.name][list(here)]
        left = keep_top(values, to, g.blocks)
        gone = sorted(set(here) - set(left))
        held = given_scores[g.name][gone].sum() / given_scores[g.name][list(here)].sum()
        saved = share(keep) - share({**keep, g.name: left})
        hanging = model.shares[g.name]["macs"]
        return held / (saved / hanging) * g.width / len(here), g.name, left

    for number, cut in enumerate(downwards(model, given_scores, keep, "macs", Constraints(), chunks)):
        if number == 25:
            break
        best = min(found for g in of.groups if g.prunable and (found := offer(g)))
        assert cut.worth == pytest.approx(best[0])
        assert (cut.group, cut.keep) == best[1:]
        keep[cut.group] = cut.keep
        assert cut.cost == model.price(keep)
