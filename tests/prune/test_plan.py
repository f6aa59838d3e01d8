"""Properties of plans: what is granted is legal, the best units stay, and every difference has a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from cpd.comb.group import Group, Slice
from cpd.errors import PlanError
from cpd.prune.plan import Constraints, GroupPlan, Plan, grant, keep_top, legal_widths, plan_ratios, uniform_plan


@dataclass(frozen=True)
class Fake:
    groups: tuple[Group, ...]
    model: str = "digest"


def group(name: str = "conv", width: int = 16, **kwargs: object) -> Group:
    index = np.arange(width).reshape(width, 1)
    return Group(name, width, (Slice(f"{name}.weight", 0, index),), **kwargs)  # type: ignore[arg-type]


widths = hs.integers(1, 96)
ratios = hs.floats(0, 1)
constraints = hs.builds(
    Constraints, multiple=hs.sampled_from([1, 4, 8, 16]), minimum=hs.integers(1, 12), max_ratio=hs.floats(0, 1)
)


@given(width=widths, ratio=ratios, limits=constraints, blocks=hs.integers(1, 6))
def test_granted_widths_are_legal_and_differences_have_reasons(
    width: int, ratio: float, limits: Constraints, blocks: int
) -> None:
    block_ids = tuple(np.repeat(np.arange(blocks), width).tolist()) if blocks > 1 else None
    subject = group(width=width * blocks, blocks=block_ids)
    kept, reason = grant(subject, ratio, limits)
    assert 1 <= kept <= subject.width
    assert kept % blocks == 0
    if kept < subject.width:
        assert kept >= limits.minimum
        assert 1 - kept / subject.width <= limits.max_ratio + 1e-9
        if limits.multiple * blocks <= subject.width:
            assert kept % limits.multiple == 0 or limits.multiple > subject.width
    if abs(kept - subject.width * (1 - ratio)) >= 0.5:
        assert reason, "a difference of half a unit or more is explained"


@given(width=widths, kept=hs.integers(1, 96), seed=hs.integers(0, 999))
def test_kept_units_outscore_dropped_ones(width: int, kept: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random(width)
    keep = keep_top(scores, min(kept, width))
    drop = sorted(set(range(width)) - set(keep))
    assert len(keep) == min(kept, width)
    assert not drop or scores[list(keep)].min() >= scores[drop].max()


@given(width=hs.integers(2, 24), blocks=hs.integers(2, 5), seed=hs.integers(0, 99), data=hs.data())
def test_every_block_keeps_as_many(width: int, blocks: int, seed: int, data: hs.DataObject) -> None:
    ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(blocks), width))
    per_block = data.draw(hs.integers(1, width))
    keep = keep_top(np.random.default_rng(seed).random(width * blocks), per_block * blocks, ids.tolist())
    assert np.bincount(ids[list(keep)]).tolist() == [per_block] * blocks


def test_rounding_that_leaves_a_group_whole_says_so() -> None:
    kept, reason = grant(group(width=16), 0.1, Constraints(multiple=8))
    assert (kept, "left whole" in reason) == (16, True)


def test_a_cap_is_enforced() -> None:
    kept, reason = grant(group(width=32), 0.94, Constraints(max_ratio=0.5))
    assert (kept, "capped at ratio 0.5" in reason) == (16, True)


def test_locked_groups_stay_whole_and_say_why() -> None:
    plan = plan_ratios(Fake((group(prunable=False, reason="output of the model"),)), {"conv": 0.5})
    assert plan.groups[0].keep == tuple(range(16))
    assert plan.groups[0].reason == "locked: output of the model"


def test_tied_groups_keep_equal_counts() -> None:
    tied = (group("a", tied=("b",)), group("b", tied=("a",)))
    plan = plan_ratios(Fake(tied), {"a": 0.75, "b": 0.25})
    assert [len(k) for k in plan.keep.values()] == [12, 12]
    assert "tied to b" in plan.groups[0].reason


@pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan")])
def test_ratios_outside_zero_to_one_are_refused(ratio: float) -> None:
    with pytest.raises(PlanError, match="conv: pruning ratio"):
        uniform_plan(Fake((group(),)), ratio)


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(PlanError, match="no group is called 'nope'"):
        plan_ratios(Fake((group(),)), {"nope": 0.5})


def test_a_plan_for_another_model_is_refused_by_what_differs() -> None:
    plan = uniform_plan(Fake((group("a"), group("b", 8))), 0.5)
    with pytest.raises(PlanError, match=r"b \(8 units here, 12 in the model\)"):
        plan.check(Fake((group("a"), group("b", 12))))
    with pytest.raises(PlanError, match="does not have: a"):
        plan.check(Fake((group("b", 8),)))
    with pytest.raises(PlanError, match="architecture digest"):
        plan.check(replace(Fake((group("a"), group("b", 8))), model="other"))


def test_a_plan_that_cuts_what_was_locked_since_is_refused() -> None:
    plan = uniform_plan(Fake((group("a"), group("b"))), 0.5)
    with pytest.raises(PlanError, match=r"b: the plan cuts it, and it is locked \(not certified\)"):
        plan.check_locks(Fake((group("a"), group("b", prunable=False, reason="not certified"))))
    uniform_plan(Fake((group("a"), group("b"))), 0.0).check_locks(
        Fake((group("a"), group("b", prunable=False, reason="x")))
    )


@given(keep=hs.lists(hs.integers(-3, 20), max_size=6))
def test_rows_that_cannot_be_are_refused(keep: list[int]) -> None:
    good = bool(keep) and keep == sorted(set(keep)) and keep[0] >= 0 and keep[-1] < 16
    if good:
        assert GroupPlan("conv", 16, tuple(keep)).granted == 1 - len(keep) / 16
    else:
        with pytest.raises(PlanError, match="conv: keep needs"):
            GroupPlan("conv", 16, tuple(keep))


@given(width=widths, ratio=hs.floats(0, 1), limits=constraints)
def test_plans_survive_json(width: int, ratio: float, limits: Constraints) -> None:
    plan = plan_ratios(Fake((group(width=width), group("b", 3))), {"conv": ratio}, constraints=limits, criterion="l2")
    again = Plan.from_json(plan.to_json())
    assert again == plan


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "groups": [{"group": 3}]}', "\x00"])
def test_files_that_are_no_plans_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=r"plan\.json"):
        Plan.load(path)


@given(width=widths, limits=constraints)
def test_legal_widths_ascend_to_the_full_width(width: int, limits: Constraints) -> None:
    legal = legal_widths(group(width=width), limits)
    assert legal == sorted(set(legal))
    assert legal[-1] == width
