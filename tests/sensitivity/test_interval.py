"""Intervals against scipy and against what they promise; the judge against made-up answers whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest

from cpd.sensitivity.evaluate import Enough
from cpd.sensitivity.interval import Z, jackknife, median_interval, wilson
from cpd.sensitivity.judge import Top1, Verdict


@pytest.mark.parametrize("right, count", [(0, 10), (10, 10), (37, 50), (1, 2), (812, 1000)])
def test_wilson_is_that_of_scipy(right, count):
    theirs = binomtest(right, count).proportion_ci(0.9, "wilson")
    assert wilson(right / count, count) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


@pytest.mark.parametrize("count", [5, 6, 7, 12, 25, 200])
def test_a_median_interval_holds_the_median_as_often_as_it_says(count):
    low, median, high = median_interval(np.arange(count, dtype=float))
    assert median == (count - 1) / 2
    out = int(low)  # order statistics left out below, and by symmetry above
    assert high == count - 1 - out
    missed = 2 * binom.cdf(out, count, 0.5)
    assert missed <= 0.1
    assert out == (count - 1) // 2 or 2 * binom.cdf(out + 1, count, 0.5) > 0.1


def test_the_jackknife_of_a_mean_is_its_variance():
    values = np.random.default_rng(1).normal(size=40)
    parts = np.stack([values, np.ones(40)], 1)
    assert jackknife(parts, lambda states: states[0] / states[1]) == pytest.approx(values.var(ddof=1) / 40)
    assert jackknife(parts[:1], lambda states: 0.0) == math.inf


def test_an_estimate_from_some_images_is_as_far_off_as_it_says():
    """1000 networks whose margins are the dense one's and noise of their own, each judged on 400 of 2000 images."""
    dice = np.random.default_rng(2)
    margin = dice.normal(1.5, 1.5, 2000)
    dense = np.stack([margin > 0, margin], 1).astype(float)
    errors, claims, plain = [], [], []
    for _ in range(1000):
        right = (margin + dice.normal(-0.3, 0.7, 2000) > 0).astype(float)
        order = dice.permutation(2000)
        found = Top1().verdict(dense[order], right[order[:400], None])
        errors.append(found.value - right.mean())
        plain.append(right[order[:400]].mean() - right.mean())
        claims.append(found.spare)
    assert np.mean(errors) == pytest.approx(0, abs=1e-3)
    assert np.mean(claims) == pytest.approx(np.std(errors), rel=0.1)
    assert np.mean(np.abs(errors) <= Z * np.array(claims)) == pytest.approx(0.9, abs=0.03)
    assert np.std(errors) < 0.7 * np.std(plain)


def test_the_order_of_images_says_more_with_as_many_and_is_as_far_off_as_it_says():
    """The same made-up networks, on 400 images in the judge's own order: every image comes once, small margins first."""
    dice = np.random.default_rng(4)
    margin = dice.normal(3.0, 1.5, 2000)
    dense = np.stack([margin > 0, margin], 1).astype(float)
    errors, claims, plain, apart = [], [], [], []
    for turn in range(400):
        right = (margin + dice.normal(-0.3, 0.7, 2000) > 0).astype(float)
        order = Top1().order(dense, turn)
        assert sorted(order) == list(range(2000))
        found = Top1().verdict(dense[order], right[order[:400], None])
        errors.append(found.value - right.mean())
        claims.append(found.spare)
        apart.append(found.deviation**2 - found.spare**2)
        chance = dice.permutation(2000)
        plain.append(Top1().verdict(dense[chance], right[chance[:400], None]).value - right.mean())
    assert np.mean(margin[order[:400]]) < np.mean(margin) - 0.5
    assert np.mean(errors) == pytest.approx(0, abs=1e-3)
    assert np.mean(np.abs(errors) <= Z * np.array(claims)) > 0.87
    assert np.std(errors) < 0.7 * np.std(plain)
    assert np.mean(apart) == pytest.approx(np.var(right - dense[:, 0]) / 2000, rel=0.2)


def test_rows_hold_the_answer_and_the_margin():
    outputs = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 4.0]])
    assert Top1().rows(outputs, torch.tensor([0, 1])).tolist() == [[1.0, 2.0], [0.0, -3.0]]


def test_all_images_leave_nothing_open():
    dense = np.repeat([[1.0, 2.0], [0.0, -1.0]], [80, 20], axis=0)
    cut = np.repeat([[1.0], [0.0]], [70, 30], axis=0)
    found = Top1().verdict(dense, cut)
    assert (found.value, found.spare) == (0.7, 0.0)
    assert (found.low, found.high) == pytest.approx(wilson(0.7, 100))
    # 10 images lost and none won of 100, and half a one more of either kind assumed: (10.5 + 0.5) / 101 - (10 / 101)^2
    assert found.deviation == pytest.approx(math.sqrt((11 / 101 - (10 / 101) ** 2) / 100))


def test_agreement_on_the_first_images_is_not_certainty():
    dense = np.stack([np.ones(1000), np.arange(1.0, 1001.0)], 1)
    assert Top1().verdict(dense, np.ones((50, 1))).spare > 0.008


def test_enough_is_a_narrow_interval_a_clear_drop_or_the_floor():
    def verdict(value: float, spare: float) -> Verdict:
        return Verdict(value, 0.0, 1.0, spare, spare)

    enough = Enough(0.01, 0.4)
    assert enough(verdict(0.88, 0.005), 0.9)
    assert not enough(verdict(0.88, 0.007), 0.9)
    assert enough(verdict(0.5, 0.02), 0.9)  # a tenth of the drop
    assert not enough(verdict(0.7, 0.02), 0.9)
    assert enough(verdict(0.35, 0.03), 0.4)  # surely below the floor
    assert not Enough(0.0, 0.4)(verdict(0.1, 0.0), 0.9)
