"""Editing a plan: edits, holds, the solver and undo, without a screen."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

from app.draft import Draft, rows
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.plan import Constraints

RECORD = synthetic.chain(locked=(1,))
SCORES = {name: np.asarray(values) for name, values in synthetic.scores(RECORD).items()}
NAMES = [group.name for group in RECORD.groups]


def test_a_typed_ratio_is_held_and_out_of_range_is_drawn_in():
    draft = Draft().edited({NAMES[0]: {"requested": 0.25}, NAMES[2]: {"requested": 7}})
    assert draft.ratios == {NAMES[0]: 0.25, NAMES[2]: 1.0}
    assert draft.held == {NAMES[0], NAMES[2]}
    assert draft.edited({NAMES[0]: {"held": False}}).held == {NAMES[2]}


def test_nothing_asked_for_and_a_ratio_of_zero_are_one_draft():
    assert Draft().uniform(RECORD, 0.5).uniform(RECORD, 0.0) == Draft()
    assert Draft.of(Draft().plan(RECORD, None)) == Draft()


def test_bulk_edits_pass_over_what_is_locked_and_hold_what_they_set():
    draft = Draft().put(RECORD, NAMES[:3], 0.5)
    assert (draft.ratios, draft.held) == ({NAMES[0]: 0.5, NAMES[2]: 0.5}, {NAMES[0], NAMES[2]})
    scaled = draft.hold(RECORD, NAMES, False).scaled(RECORD, NAMES, 3.0)
    assert (scaled.ratios, scaled.held) == ({NAMES[0]: 1.0, NAMES[2]: 1.0}, {NAMES[0], NAMES[2]})
    assert draft.reset(NAMES[:1]) == Draft().put(RECORD, [NAMES[2]], 0.5)
    assert draft.hold(RECORD, NAMES, True).held == {NAMES[0], NAMES[2], NAMES[3]}


def test_uniform_leaves_held_and_locked_rows_alone():
    draft = Draft().edited({NAMES[0]: {"requested": 0.25}}).uniform(RECORD, 0.5)
    assert draft.ratios == {NAMES[0]: 0.25, NAMES[2]: 0.5, NAMES[3]: 0.5}


def test_solving_meets_the_target_and_keeps_held_rows():
    draft = Draft().edited({NAMES[0]: {"requested": 0.0}}).solved(RECORD, SCORES, {"macs": 0.4})
    plan = draft.plan(RECORD, SCORES)
    cost = CostModel(RECORD)
    assert cost.price(plan.keep).share_of(cost.dense)["macs"] <= 0.4
    assert not plan.shortfall
    assert len(plan.keep[NAMES[0]]) == 8
    assert len(plan.keep[NAMES[1]]) == 16
    assert plan.target == {"macs": 0.4}
    assert draft.edited({NAMES[3]: {"requested": 0.1}}).target == {}


def test_solving_without_scores_looks_at_cost_alone():
    plan = Draft().solved(RECORD, None, {"params": 0.5}).plan(RECORD, None)
    cost = CostModel(RECORD)
    assert cost.price(plan.keep).share_of(cost.dense)["params"] <= 0.5


def test_an_unreachable_target_says_by_how_much():
    draft = Draft(constraints=Constraints(minimum=8)).solved(RECORD, SCORES, {"macs": 0.01})
    assert "above the target" in draft.shortfall
    assert "1 locked" in draft.shortfall


def test_an_impossible_target_is_refused():
    with pytest.raises(PlanError, match="outside 0..1"):
        Draft().solved(RECORD, SCORES, {"macs": 1.5})


def test_rows_put_requested_and_granted_side_by_side_with_the_reason():
    draft = Draft(constraints=Constraints(multiple=8)).edited({NAMES[1]: {"requested": 0.5}, NAMES[2]: {"requested": 0.3}})
    by_name = {row.group: row for row in rows(RECORD, draft.plan(RECORD, None))}
    assert by_name[NAMES[1]].granted == 0
    assert by_name[NAMES[1]].reason.startswith("locked")
    assert by_name[NAMES[2]].granted == 0.5
    assert "multiple of 8" in by_name[NAMES[2]].reason
