"""A minimum width of a single group is kept by everything that makes plans, said in the ledger, and saved with the plan."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs
from torch import nn

from cpd.cli import options
from cpd.cli.plan_command import matched
from cpd.comb.comb import comb
from cpd.comb.group import Group, Slice
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.plan import Constraints, Plan, grant, legal_widths, plan_ratios, uniform_plan
from cpd.prune.presets import preset
from cpd.prune.solve import plan_for_target


@cache
def record() -> CombRecord:
    """Hidden layers of 8, 16, 40 and 8 units."""
    widths = (6, 8, 16, 40, 8, 3)
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return comb(nn.Sequential(*layers[:-1]).eval(), (torch.randn(2, 6),)).record


FREE = [group.name for group in record().groups if group.prunable]


def group(name: str, width: int = 16, tied: tuple[str, ...] = ()) -> Group:
    return Group(name, width, (Slice(f"{name}.weight", 0, np.arange(width).reshape(width, 1)),), tied=tied)


@settings(max_examples=40, deadline=None)
@given(
    minimums=hs.dictionaries(hs.sampled_from(FREE), hs.integers(1, 50), max_size=4),
    way=hs.sampled_from(["hand", "solver", "uniform", "importance", "alike"]),
    share=hs.floats(0.05, 0.9),
    multiple=hs.sampled_from([1, 4]),
    seed=hs.integers(0, 99),
)
def test_whoever_makes_the_plan_no_group_is_narrower_than_its_minimum(
    minimums: dict[str, int], way: str, share: float, multiple: int, seed: int
) -> None:
    limits = Constraints(multiple=multiple, minimums=minimums)
    rng = np.random.default_rng(seed)
    scores = {g.name: rng.random(g.width) + 0.01 for g in record().groups}
    if way == "solver":
        plan = plan_for_target(record(), scores, {"macs": share}, limits)
    else:
        if way == "hand":
            ratios = dict.fromkeys(FREE, 1 - share)
        else:
            ratios = preset(way, record(), scores, target={"macs": share}, constraints=limits).ratios
        plan = plan_ratios(record(), ratios, scores, limits)
    for each in record().groups:
        assert len(plan.keep[each.name]) >= min(each.width, minimums.get(each.name, 1))
    assert Plan.from_json(plan.to_json()) == plan


def test_the_ledger_says_that_a_minimum_width_stood_in_the_way() -> None:
    limits = Constraints(minimums={"a": 12})
    assert grant(group("a"), 0.5, limits) == (12, "minimum width 12")
    assert grant(group("b"), 0.5, limits) == (8, "")
    assert grant(group("a"), 0.25, limits) == (12, "")
    kept, reason = grant(group("a"), 0.5, Constraints(multiple=8, minimums={"a": 10}))
    assert kept == 16
    assert reason.startswith("minimum width 10; ")
    assert grant(group("a"), 0.5, Constraints(minimums={"a": 99}))[0] == 16


def test_tied_groups_keep_to_each_others_minimum() -> None:
    limits = Constraints(minimums={"b": 10})
    assert legal_widths(group("a", tied=("b",)), limits)[0] == 10


def test_a_target_that_minimums_forbid_says_how_many_there_are() -> None:
    scores = {g.name: np.ones(g.width) for g in record().groups}
    plan = plan_for_target(record(), scores, {"macs": 0.05}, Constraints(minimums=dict.fromkeys(FREE, 8)))
    assert "4 with a minimum of their own" in plan.shortfall


def test_files_from_before_are_read_and_those_without_minimums_stay_as_they_were() -> None:
    plan = uniform_plan(record(), 0.5)
    row = json.loads(plan.to_json())
    assert set(row["constraints"]) == {"multiple", "minimum", "max_ratio"}
    assert Plan.from_json(json.dumps(row)) == plan
    row["constraints"]["minimums"] = {FREE[0]: 4}
    assert Plan.from_json(json.dumps(row)).constraints.minimums == {FREE[0]: 4}


@pytest.mark.parametrize("least", [0, -1, 2.5, "8", True, None])
def test_a_minimum_that_is_no_number_of_units_is_refused(least: object) -> None:
    row = json.loads(uniform_plan(record(), 0.5).to_json())
    row["constraints"]["minimums"] = {FREE[0]: least}
    with pytest.raises(PlanError, match="minimum width of"):
        Plan.from_json(json.dumps(row))


def test_the_command_line_names_groups_by_name_or_pattern() -> None:
    given_widths = [options.whole(text, "--min-width") for text in ("*=4", f"{FREE[1]}=6")]
    assert matched(record(), given_widths) == {**dict.fromkeys(FREE, 4), FREE[1]: 6}
    for text in ("a=0", "a=2.5", "a=inf", "a", "=3"):
        with pytest.raises(PlanError, match="--min-width"):
            options.whole(text, "--min-width")
    with pytest.raises(PlanError, match="no prunable group"):
        matched(record(), [("nope", 3)])
