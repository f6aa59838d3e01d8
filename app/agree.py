"""How far criteria agree: Spearman's rank correlation of two score lists, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Scores = Mapping[str, Mapping[str, npt.NDArray[np.float64]]]  # criterion -> group -> (width,)
Pairs = dict[tuple[str, str], list[float]]  # correlation per group; NaN where a list is constant or has one unit


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 0, equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts) + (last - 1))[place] / 2)


def spearman(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Rank correlation -1..1; NaN where there is no order to compare."""
    x, y = ranks(np.asarray(a)), ranks(np.asarray(b))
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / size) if size else float("nan")


def by_group(scores: Scores, groups: Sequence[str]) -> Pairs:
    """Correlation of every pair of criteria in every group."""
    return {
        (a, b): [spearman(scores[a][g], scores[b][g]) if g in scores[a] and g in scores[b] else float("nan") for g in groups]
        for a, b in combinations(scores, 2)
    }


def matrix(pairs: Pairs, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean over groups, as a symmetric matrix with ones on its diagonal."""
    table = np.eye(len(names))
    for (a, b), values in pairs.items():
        i, j = names.index(a), names.index(b)
        known = [v for v in values if v == v]
        table[i, j] = table[j, i] = float(np.mean(known)) if known else float("nan")
    return table


def pairs(found: Pairs, names: Sequence[str]) -> dict[str, list[float]]:
    """The same under names that a legend can show."""
    return {f"{a} and {b}": values for (a, b), values in found.items()}
