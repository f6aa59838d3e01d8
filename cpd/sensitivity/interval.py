"""Intervals of 90 %: of a share, of a median, of a difference between two networks on the same images (no torch)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Z = 1.6449  # 90 % of a normal distribution lie within so many standard deviations
_COVERAGE = 0.90


def wilson(share: float, count: float) -> tuple[float, float]:
    """Interval of a share seen on `count` trials (Wilson 1927, equation 4 of Brown, Cai & DasGupta 2001)."""
    if count <= 0:
        return 0.0, 1.0
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    off = Z / (1 + Z * Z / count) * math.sqrt(max(share * (1 - share), 0.0) / count + Z * Z / (4 * count * count))
    return max(0.0, min(middle - off, share)), min(1.0, max(middle + off, share))


def median_interval(values: FloatArray) -> tuple[float, float, float]:
    """(low, median, high): the order statistics that enclose the true median with 90 %, whatever the distribution is
    (binomial; Conover 1999, section 3.2). Fewer than five values enclose it with less."""
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    below = 0  # values left out at either end
    tail = 0.5**count  # P(fewer than `below` + 1 of `count` fall under the median)
    while below < (count - 1) // 2:
        tail += math.comb(count, below + 1) * 0.5**count
        if 2 * tail > 1 - _COVERAGE:
            break
        below += 1
    return float(ordered[below]), float(np.median(ordered)), float(ordered[count - 1 - below])


def jackknife(parts: FloatArray, statistic: Callable[[FloatArray], float]) -> float:
    """Variance of a statistic of the sum of `parts` (n, states), from leaving out each part once (Tukey 1958).

    A single part says nothing of its variance: infinite.
    """
    count = len(parts)
    if count < 2:
        return math.inf
    total = parts.sum(0)
    without = np.array([statistic(total - part) for part in parts])
    return float((count - 1) / count * np.square(without - without.mean()).sum())
