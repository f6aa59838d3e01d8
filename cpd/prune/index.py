"""Which positions of every tensor live on under a plan: the one map that cuts weights, optimizer state and scores."""

from __future__ import annotations

import numpy as np

from cpd.comb.group import IntArray
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel, Keep

Positions = dict[str, tuple[IntArray | None, ...]]


def kept_positions(record: CombRecord, keep: Keep) -> Positions:
    """For every parameter and buffer, per axis the dense positions that live; None where the whole axis does."""
    alive = ~CostModel(record).dead(keep)
    living: dict[int, IntArray | None] = {}
    for number in range(len(record.extents)):
        mask = alive[record.extents.row(number)]  # atom -1 reads the last entry, which never dies
        living[number] = None if mask.all() else np.flatnonzero(mask)
    return {t.name: tuple(None if e < 0 else living[e] for e in t.extents) for t in record.tensors}


def relative_positions(before: Positions, after: Positions) -> Positions:
    """Where the positions that `after` keeps sit in tensors already cut to `before`.

    Everything that `after` keeps must be kept by `before`.
    """
    result: Positions = {}
    for name, axes in after.items():
        row: list[IntArray | None] = []
        for old, new in zip(before[name], axes, strict=True):
            if new is None or old is None:
                row.append(new)
                continue
            where = np.searchsorted(old, new)
            row.append(None if len(new) == len(old) else where.astype(np.int64))
        result[name] = tuple(row)
    return result
