"""Predictions of accuracy: what was measured of one group comes back, several add up, and the interval says what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from scipy.optimize import isotonic_regression

from cpd.comb.group import Group
from cpd.comb.record import CombRecord, Ragged
from cpd.errors import PlanError
from cpd.prune.predict import AccuracyModel, _falling
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable

DENSE = 0.9


def record(*groups: Group) -> CombRecord:
    empty = Ragged.of([])
    return CombRecord("digest", groups, 0, empty, empty, (), ())


def groups(count: int = 3, width: int = 8) -> tuple[Group, ...]:
    return tuple(Group(f"g{i}", width, ()) for i in range(count))


def table(values: Mapping[str, Mapping[int, float]], images: int = 10_000) -> SensitivityTable:
    rows = {
        name: GroupSensitivity(tuple(Point(kept, value, value, value, images) for kept, value in points.items()))
        for name, points in values.items()
    }
    return SensitivityTable("digest", "top1", DENSE, images, 1, rows)


def odds(share: float) -> float:
    return math.log(share / (1 - share))


THREE = table({f"g{i}": {8: DENSE, 4: 0.85, 2: 0.7} for i in range(3)})


def test_one_group_gives_what_was_measured_of_it() -> None:
    model = AccuracyModel(record(*groups()), THREE)
    for kept, value in ((8, 0.9), (4, 0.85), (2, 0.7)):
        found = model.estimate({"g1": range(kept)})
        assert found.value == pytest.approx(value)
        assert found.low <= value <= found.high
    between = model.estimate({"g1": range(3)})
    assert odds(between.value) == pytest.approx((odds(0.85) + odds(0.7)) / 2)
    assert model.estimate({}).value == DENSE


def test_several_groups_lose_more_than_any_and_less_than_the_sum() -> None:
    model = AccuracyModel(record(*groups()), THREE)
    one, two, three = (model.estimate({f"g{i}": range(4) for i in range(n)}) for n in (1, 2, 3))
    drop = odds(DENSE) - odds(0.85)
    assert odds(DENSE) - 2 * drop < odds(two.value) < odds(one.value)
    # Whatever share of the further drops counts, each further group adds the same.
    assert odds(one.value) - odds(two.value) == pytest.approx(odds(two.value) - odds(three.value))


def width(model: AccuracyModel, keep: Mapping[str, int]) -> float:
    found = model.estimate_counts(keep)
    return odds(found.high) - odds(found.low)


def test_what_is_known_less_is_said_less_sharply() -> None:
    whole, few = AccuracyModel(record(*groups()), THREE), AccuracyModel(record(*groups()), table(
        {name: {p.kept: p.value for p in g.points} for name, g in THREE.groups.items()}, images=100
    ))  # fmt: skip
    partial = AccuracyModel(record(*groups()), replace(THREE, groups={n: THREE.groups[n] for n in ("g0", "g1")}))
    assert width(whole, {"g0": 4}) < width(few, {"g0": 4}), "fewer images"
    assert width(whole, {"g0": 4}) < width(whole, {"g0": 4, "g1": 4}) < width(whole, {"g0": 4, "g1": 4, "g2": 4})
    assert width(whole, {"g2": 4}) < width(partial, {"g2": 4}), "a group that was not measured"
    assert "not measured" in partial.estimate_counts({"g2": 4}).how
    assert width(whole, {"g0": 2}) < width(whole, {"g0": 1}), "narrower than measured"
    assert "narrower than measured" in whole.estimate_counts({"g0": 1}).how


def test_cuts_that_showed_nothing_may_still_cost_together() -> None:
    flat = table({f"g{i}": {8: DENSE, 4: DENSE, 2: DENSE} for i in range(3)})
    model = AccuracyModel(record(*groups()), flat)
    one, three = model.estimate_counts({"g0": 2}), model.estimate_counts({f"g{i}": 2 for i in range(3)})
    assert one.value == pytest.approx(DENSE) == pytest.approx(three.value)
    assert DENSE - three.low > 2 * (DENSE - one.low)


def test_tied_groups_lose_once() -> None:
    alone, tied = groups(2), (Group("g0", 8, (), tied=("g1",)), Group("g1", 8, (), tied=("g0",)))
    assert AccuracyModel(record(*tied), THREE).estimate_counts({"g0": 4, "g1": 4}).value == pytest.approx(0.85)
    assert AccuracyModel(record(*alone), THREE).estimate_counts({"g0": 4, "g1": 4}).value < 0.85


def test_no_prediction_falls_below_guessing() -> None:
    outputs = Group("head", 4, (), prunable=False, reason="output of the model")
    deep = table({f"g{i}": {8: DENSE, 2: 0.3} for i in range(3)})
    found = AccuracyModel(record(*groups(), outputs), deep).estimate_counts({f"g{i}": 2 for i in range(3)})
    assert found.value == pytest.approx(0.25)
    assert found.low < 0.25 < found.high


def test_a_scan_that_has_measured_nothing_or_another_model_is_refused() -> None:
    with pytest.raises(PlanError, match="another model"):
        AccuracyModel(record(*groups()), replace(THREE, model="other"))
    with pytest.raises(PlanError, match="first rows"):
        AccuracyModel(record(*groups()), replace(THREE, groups={}))


@given(hs.lists(hs.tuples(hs.floats(-5, 5), hs.floats(0.1, 10)), min_size=1, max_size=12))
def test_smoothing_is_isotonic_regression(rows: list[tuple[float, float]]) -> None:
    values, weights = np.array(rows).T
    expected = isotonic_regression(values, weights=weights, increasing=False).x
    assert _falling(values, weights) == pytest.approx(expected, abs=1e-9)


@given(hs.lists(hs.floats(0.05, 0.999), min_size=1, max_size=7), hs.integers(0, 8), hs.integers(0, 8))
def test_keeping_fewer_is_never_predicted_to_be_better(values: list[float], one: int, other: int) -> None:
    points = {8: DENSE} | {7 - i: value for i, value in enumerate(values)}
    model = AccuracyModel(record(*groups(1)), table({"g0": points}))
    less, more = sorted((one, other))
    assert model.estimate_counts({"g0": less}).value <= model.estimate_counts({"g0": more}).value + 1e-12
