"""How far two lists of scores rank units alike: over batches of one criterion, or between criteria (no torch).

Scores from few images are estimates. A table keeps what each part of its batches says alone (`ScoreTable.parts`); where
the parts rank a group's units alike, more data would not change the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def ranks(values: npt.ArrayLike) -> FloatArray:
    """Ranks from 0, ascending; equal values share the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts) + (last - 1))[place] / 2)


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's rank correlation, -1..1; NaN where one of the lists has no order (constant, or a single unit)."""
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size else float("nan")


def stability(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, float]:
    """Per group the mean rank correlation over all pairs of parts.

    It is that of scores from one part's batches; those from all of them are steadier (see `of_all`).

    Args:
        parts: `ScoreTable.parts`: scores of every group, each from its own share of the batches.
    Returns:
        -1..1 per group, NaN where no pair has an order; empty with fewer than two parts.
    """
    if len(parts) < 2:
        return {}
    result = {}
    for name in parts[0]:
        found = [rank_correlation(a[name], b[name]) for a, b in combinations(parts, 2)]
        known = [value for value in found if value == value]
        result[name] = float(np.mean(known)) if known else float("nan")
    return result


def of_all(correlation: float, parts: int) -> float:
    """What the correlation would be between two tables that each have as many batches as all `parts` together.

    Spearman and Brown's formula (1910): k r / (1 + (k - 1) r). An estimate; negative correlations stay as they are.
    """
    if not correlation > 0:
        return correlation
    return parts * correlation / (1 + (parts - 1) * correlation)
