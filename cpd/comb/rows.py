"""Free splits: rows that drop columns of their own, equally many each (see `boxes.py`).

A unit that is one column of one row belongs to that row: its *block*. Units are exchanged within a block, and every
block of a split keeps the same number of units. Where two groups share the rows of a split (query and key in some,
value in others), they are *tied*: both keep equally many. Where the rows of a split cannot be kept equal that way, the
split is forced, and its rows drop the same columns.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy import sparse

from cpd.comb.flow import Flow
from cpd.comb.labels import Free, IntArray
from cpd.comb.units import Units


def free_splits(flow: Flow) -> list[Free]:
    """Splits whose rows are still free after a pass."""
    return [split for split in flow.boxes.free if split.key not in flow.forced]


def uneven(flow: Flow, units: Units) -> set[str]:
    """Keys of splits that some unit would leave with rows of unequal length."""
    unit_of = _unit_of(flow, units)
    columns = sparse.csc_array(units.closure)
    locked = np.array([bool(why) for why in units.reasons] + [False])
    bad: set[str] = set()
    for split in free_splits(flow):
        rows = units.roots[split.atoms].reshape(-1, split.atoms.shape[-1])
        members = unit_of[rows]
        if (members < 0).any() and (members >= 0).any():
            bad.add(split.key)
            continue
        if (members >= 0).all():
            if locked[members].any() and not locked[members].all():
                bad.add(split.key)
                continue
            if any(len(np.unique(row)) < len(row) for row in members):
                bad.add(split.key)
                continue
        if _unequal(columns, rows, members):
            bad.add(split.key)
    return bad


def _unit_of(flow: Flow, units: Units) -> IntArray:
    unit_of = np.full(len(flow.atoms), -1, np.int64)
    unit_of[units.candidates] = np.arange(len(units.candidates))
    return unit_of


def _unequal(columns: sparse.csc_array, rows: IntArray, members: IntArray) -> bool:
    """Whether some candidate takes unequally many positions from rows that it leaves alive.

    A member takes one position from each of its own rows, which its blocks keep equal, and nothing else.
    """
    count, width = rows.shape
    touched: dict[int, IntArray] = defaultdict(lambda: np.zeros(count, np.int64))
    for number in range(count):
        for atom in rows[number]:
            for unit in columns.indices[columns.indptr[atom] : columns.indptr[atom + 1]]:
                touched[int(unit)][number] += 1
    own: dict[int, IntArray] = defaultdict(lambda: np.zeros(count, np.int64))
    for number in range(count):
        for unit in members[number]:
            if unit >= 0:
                own[int(unit)][number] += 1
    for unit, taken in touched.items():
        if unit in own:
            if not np.array_equal(taken, own[unit]):
                return True
            continue
        partly = taken[taken < width]
        if len(partly) and partly.min() != partly.max():
            return True
    return False


def blocks(
    flow: Flow, units: Units, rows: list[IntArray]
) -> tuple[list[tuple[int, ...] | None], list[set[int]], set[str]]:
    """Blocks and ties of groups.

    Args:
        rows: per group its units, as rows of `units`.
    Returns:
        Per group a block id a unit or None, per group the groups tied to it, and the keys of splits to force.
    """
    unit_of = _unit_of(flow, units)
    group_of = np.full(len(units.candidates) + 1, -1, np.int64)
    for number, members in enumerate(rows):
        group_of[members] = number
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    ties: list[set[int]] = [set() for _ in rows]
    bad: set[str] = set()
    shared: list[tuple[str, list[list[int]]]] = []
    for s, split in enumerate(free_splits(flow)):
        members = unit_of[units.roots[split.atoms].reshape(-1, split.atoms.shape[-1])]
        if (members < 0).all():
            continue
        owners = [sorted(set(group_of[row].tolist())) for row in members]
        counts = [np.bincount(group_of[row] + 1, minlength=len(rows) + 1).tolist() for row in members]
        if any(c != counts[0] for c in counts) and any(len(o) > 1 for o in owners):
            bad.add(split.key)
            continue
        shared.append((split.key, owners))
        for number, row in enumerate(members):
            for unit in row.tolist():
                places[unit].append((s, number))
    result: list[tuple[int, ...] | None] = []
    for members in rows:
        ids: dict[tuple[tuple[int, int], ...], int] = {}
        block = [ids.setdefault(tuple(sorted(places.get(int(u), []))), len(ids)) for u in members]
        result.append(tuple(block) if len(ids) > 1 else None)
    for key, owners in shared:
        groups = sorted({g for o in owners for g in o})
        shapes = {(len(rows[g]), len(set(result[g] or (0,)))) for g in groups}
        even = all(len(set(np.bincount(result[g] or (0,)).tolist())) == 1 for g in groups)
        if -1 in groups or not even or (any(o != owners[0] for o in owners) and len(shapes) > 1):
            bad.add(key)
            continue
        if any(o != owners[0] for o in owners):
            for g in groups:
                ties[g] |= set(groups) - {g}
    return result, ties, bad
