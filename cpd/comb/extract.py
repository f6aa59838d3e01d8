"""Units -> groups: units with the same slices that operators treated alike are exchangeable and form a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cpd.comb.flow import Flow
from cpd.comb.group import Group, IntArray, Slice
from cpd.comb.labels import Label, Varying
from cpd.comb.propagate import Axis
from cpd.comb.rows import blocks
from cpd.comb.units import Units


@dataclass(eq=False)
class Extracted:
    """Groups with, for each, the rows of its units in `Units`."""

    groups: list[Group]
    rows: list[IntArray]
    forced: set[str]  # splits whose rows cannot stay free


def extract(flow: Flow, units: Units, labels: dict[Axis, Label], order: Sequence[str]) -> Extracted:
    """Groups of a network in forward order.

    Args:
        order: tensor names as the graph first reads them.
    """
    shown = _multiplied(flow, units) & _weighs(flow, units) & ~_covered(units)
    by_key: dict[tuple[object, ...], list[int]] = defaultdict(list)
    counts = _axis_counts(units)
    for row in range(len(units.candidates)):
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        key = (
            counts.indices[span].tobytes(),
            counts.data[span].tobytes(),
            int(units.treatment[row]),
            bool(units.reasons[row]),
        )
        by_key[key].append(row)
    rank = {name: i for i, name in enumerate(order)}
    found: list[tuple[tuple[int, ...], Group, IntArray]] = []
    for rows in by_key.values():
        reason = units.reasons[rows[0]]
        if reason and not shown[rows].any():
            continue  # kernel positions, tokens, entries of tables, or locked slots over what others may remove
        if not reason and len(rows) == 1:
            reason = "a single unit, which has to stay"
        slices, ordered = _slices(units, rows, rank)
        shared = next((s.tensor for s in slices if len(np.unique(s.index)) < s.index.size), "")
        if shared and not reason:
            reason = f"two of its units hold the same positions of {shared}"
        first = slices[0]
        group = Group(first.tensor, len(rows), tuple(slices), prunable=not reason, reason=reason)
        place = (rank.get(first.tensor, len(rank)), first.axis, int(first.index.min()), -first.index.shape[1])
        found.append((place, group, np.array(ordered)))
    found.sort(key=lambda item: item[0])
    groups, rows_of = [g for _, g, _ in found], [r for _, _, r in found]
    parents = {child: p for child, p in _parents(flow, units, rows_of).items() if groups[p].prunable}
    names = _names(flow, units, groups, rows_of, parents)
    block, tied, forced = blocks(flow, units, rows_of)
    named = [
        replace(
            group,
            name=names[i],
            parent=names[parents[i]] if i in parents else "",
            blocks=block[i],
            tied=tuple(names[j] for j in sorted(tied[i])),
        )
        for i, group in enumerate(groups)
    ]
    return Extracted(named, rows_of, forced)


def _axis_counts(units: Units) -> sparse.csr_array:
    """(candidates, axes): how many positions of each tensor axis die with a candidate."""
    columns = len(units.position_axis)
    one_hot = sparse.csr_array(
        (np.ones(columns, np.int32), (np.arange(columns), units.position_axis)),
        shape=(columns, max(len(units.axes), 1)),
    )
    counts = sparse.csr_array(units.positions @ one_hot)
    counts.sort_indices()
    return counts


def _multiplied(flow: Flow, units: Units) -> npt.NDArray[np.bool_]:
    """Which candidates appear on an axis of a multiplication: channels, heads and features do, kernel positions do not."""
    seen = np.zeros(len(flow.atoms), bool)
    for calls in flow.macs.values():
        for axes in calls:
            for _, label in axes:
                if label is not None:
                    atoms = label.atoms.reshape(-1) if isinstance(label, Varying) else label
                    seen[units.roots[atoms]] = True
    seen[units.roots[flow.batch]] = False
    return np.asarray(np.asarray(units.closure @ seen.astype(np.int32)) > 0, bool)


def _weighs(flow: Flow, units: Units) -> npt.NDArray[np.bool_]:
    """Which candidates own positions of a weight that is multiplied with; those of position tables alone do not."""
    weights = {str(a.target) for node in flow.macs for a in node.all_input_nodes if a.op == "get_attr"}
    own = np.array([name in weights for name, _ in units.axes] or [False], np.int32)
    return np.asarray(np.asarray(_axis_counts(units) @ own) > 0, bool)


def _covered(units: Units) -> npt.NDArray[np.bool_]:
    """Which candidates hold only positions that units free to go hold as well (query, key and value as three slots)."""
    free = np.array([not why for why in units.reasons], np.int32)
    removable = np.asarray(free @ units.positions) > 0
    held = np.diff(units.positions.indptr)
    return np.asarray(np.asarray(units.positions @ removable.astype(np.int32)) == held, bool)


def _slices(units: Units, rows: list[int], rank: dict[str, int]) -> tuple[list[Slice], list[int]]:
    """Slices in forward order, units in the order of their first positions."""
    positions = units.positions
    columns = [positions.indices[positions.indptr[row] : positions.indptr[row + 1]] for row in rows]
    table = np.stack(columns)  # columns are sorted by axis, then position; all units have as many
    axis_of = units.position_axis[table[0]]
    place = units.position[table]
    pieces = []
    for axis in np.unique(axis_of):
        name, number = units.axes[int(axis)]
        pieces.append((rank.get(name, len(rank)), number, name, place[:, axis_of == axis]))
    pieces.sort(key=lambda piece: piece[:2])
    ordered = np.lexsort(pieces[0][3].T[::-1])
    slices = [Slice(name, number, index[ordered].astype(np.int64)) for _, number, name, index in pieces]
    return slices, [rows[i] for i in ordered]


def _parents(flow: Flow, units: Units, rows: list[IntArray]) -> dict[int, int]:
    """Group -> the prunable group that holds it: two factors of one box, the outer one (a head) before the inner (its channels)."""
    group_of = np.full(len(flow.atoms), -1, np.int64)
    for number, members in enumerate(rows):
        group_of[units.candidates[members]] = number
    parents: dict[int, int] = {}
    for box in flow.boxes:
        found: list[list[int]] = []
        for _, label in box.factors:
            if label is not None:
                atoms = label.atoms.reshape(-1) if isinstance(label, Varying) else label
                found.append([int(n) for n in np.unique(group_of[units.roots[atoms]]) if n >= 0])
        for outer, inner in zip(found, found[1:], strict=False):
            for child in inner:
                if len(outer) == 1 and child != outer[0] and parents.get(outer[0]) != child:
                    parents.setdefault(child, outer[0])
    return parents


def _names(flow: Flow, units: Units, groups: list[Group], rows: list[IntArray], parents: dict[int, int]) -> list[str]:
    """The module that first writes a group; heads and their channels say so, further groups of a module are numbered."""
    heads = np.zeros(len(flow.atoms), bool)
    for label in flow.heads:
        heads[units.roots[label]] = True
    taken: dict[str, int] = defaultdict(int)
    names = []
    for number, group in enumerate(groups):
        base = group.slices[0].tensor.rpartition(".")[0] or group.slices[0].tensor
        if heads[units.candidates[rows[number]]].all():
            base += ":heads"
        elif number in parents:
            base += ":channels"
        taken[base] += 1
        names.append(base if taken[base] == 1 else f"{base}#{taken[base]}")
    return names
