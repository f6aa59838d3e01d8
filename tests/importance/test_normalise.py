"""Normalised scores and rank correlations against arithmetic by hand and scipy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from scipy import stats

from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.importance.normalise import PER, WITHIN, normalise, savings
from cpd.importance.stability import of_all, rank_correlation, stability
from cpd.prune.cost import CostModel, Keep
from cpd.prune.estimate import Estimate

SCORES = {"conv1": np.array([1.0, 3.0, 0.0, 4.0]), "conv2": np.array([10.0, 10.0, 40.0])}


def test_within_a_group_by_hand() -> None:
    want = {
        "none": ([1, 3, 0, 4], [10, 10, 40]),
        "max": ([0.25, 0.75, 0, 1], [0.25, 0.25, 1]),
        "sum": ([0.125, 0.375, 0, 0.5], [1 / 6, 1 / 6, 4 / 6]),
        "mean": ([0.5, 1.5, 0, 2], [0.5, 0.5, 2]),
        "l2": (np.array([1, 3, 0, 4]) / 26**0.5, np.array([1, 1, 4]) / 18**0.5),
        "rank": ([0.375, 0.625, 0.125, 0.875], [1 / 3, 1 / 3, 2.5 / 3]),
    }
    assert set(want) == set(WITHIN)
    for within, (first, second) in want.items():
        found = normalise(SCORES, within)
        np.testing.assert_allclose(found["conv1"], first, atol=1e-15)
        np.testing.assert_allclose(found["conv2"], second, atol=1e-15)


@given(hs.lists(hs.floats(0, 1e6), min_size=1, max_size=30), hs.sampled_from(sorted(WITHIN)))
def test_the_order_within_a_group_stays(values: list[float], within: str) -> None:
    before = np.array(values)
    after = normalise({"g": before}, within)["g"]
    assert np.isfinite(after).all()
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= 0).all()


def test_savings_by_hand(record: CombRecord) -> None:
    """conv1: 9*16 MACs for its filter and 9*16*3 for what conv2 reads; conv2: 9*16*4, and 16*2 in the head."""
    costs = CostModel(record)
    assert savings(costs, "macs") == {"conv1": 144 + 432, "conv2": 576 + 32}
    # parameters: 9 + bias + 2 of the norm + 27 in conv2; 36 + bias + 32 in the head
    assert savings(costs, "params") == {"conv1": 9 + 1 + 2 + 27, "conv2": 36 + 1 + 32}
    found = normalise(SCORES, "none", "macs", costs)
    mean = (576 + 608) / 2
    np.testing.assert_allclose(found["conv1"], SCORES["conv1"] / (576 / mean))
    np.testing.assert_allclose(found["conv2"], SCORES["conv2"] / (608 / mean))


@dataclass(frozen=True)
class Stairs:
    """3 ms, and 1 ms more for every two channels of conv1; conv2 costs nothing."""

    def estimate(self, keep: Keep) -> Estimate:
        value = 3.0 + len(keep.get("conv1", range(4))) // 2
        return Estimate(value, value, value, False, "stairs")


def test_time_saved_is_that_of_half_the_group(record: CombRecord) -> None:
    costs = CostModel(record)
    assert savings(costs, "latency_ms", Stairs()) == {"conv1": 0.5, "conv2": 0.0}
    found = normalise(SCORES, "mean", "latency_ms", costs, Stairs())
    np.testing.assert_allclose(found["conv1"], np.array([0.5, 1.5, 0, 2]) / 2)
    assert found["conv2"].min() > found["conv1"].max()  # it saves no time: worth keeping


def test_units_that_leave_together_share_the_saving(record: CombRecord) -> None:
    first, second = record.groups
    rows = replace(record, groups=(replace(first, blocks=(0, 0, 1, 1)), replace(second, prunable=False, reason="x")))
    assert savings(CostModel(rows), "macs") == {"conv1": 576}  # two go at once, each saves as much
    assert set(normalise(SCORES, "mean", "macs", CostModel(rows))) == {"conv1"}


def test_bad_choices_are_one_line(record: CombRecord) -> None:
    with pytest.raises(PlanError, match="cannot be normalised by 'best'; there are none, max"):
        normalise(SCORES, "best")
    with pytest.raises(PlanError, match="per latency_ms need a latency model"):
        normalise(SCORES, "none", "latency_ms", CostModel(record))
    assert set(PER) == {"unit", "macs", "params", "latency_ms"}


@given(hs.lists(hs.integers(0, 6), min_size=2, max_size=25), hs.integers(0, 999))
def test_rank_correlation_is_scipys(values: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).integers(0, 6, len(values))
    if len(set(values)) == 1 or len(set(other.tolist())) == 1:
        assert np.isnan(rank_correlation(values, other))
    else:
        assert rank_correlation(values, other) == pytest.approx(stats.spearmanr(values, other).statistic, abs=1e-12)


def test_stability_is_the_mean_over_pairs() -> None:
    parts = [{"g": np.array(row, float), "h": np.ones(2)} for row in ([1, 2, 3, 4], [1, 2, 4, 3], [4, 3, 2, 1])]
    found = stability(parts)
    assert found["g"] == pytest.approx((0.8 - 1.0 - 0.8) / 3)
    assert np.isnan(found["h"])
    assert stability(parts[:1]) == {}
    assert of_all(0.5, 2) == pytest.approx(2 / 3)
    assert of_all(-0.2, 4) == -0.2
