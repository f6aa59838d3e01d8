"""Labels -> units: what dies together, in one sparse matrix for the whole network.

A candidate is a class of atoms that no other owns. Its closure is everything it owns, directly or through others. A
unit is a candidate whose closure is free of locks and leaves every box of `boxes.py` a dense box.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cpd.comb.flow import Flow
from cpd.comb.labels import IntArray, Label, Varying
from cpd.comb.propagate import Axis


@dataclass(eq=False)
class Units:
    """Every candidate with what dies with it.

    Attributes:
        closure: (candidates, atoms) sparse, nonzero where an atom class dies with the candidate.
        reasons: per candidate why it must stay, "" when it may go.
        position_axis, position: per column of `positions` which tensor axis it is, and where on it.
        positions: (candidates, columns) sparse: tensor positions that die with the candidate.
        treatment: per candidate a number that tells how operators treated its positions.
    """

    roots: IntArray
    candidates: IntArray
    closure: sparse.csr_array
    reasons: list[str]
    axes: list[Axis]
    position_axis: IntArray
    position: IntArray
    positions: sparse.csr_array
    treatment: npt.NDArray[np.uint64]


def find_units(flow: Flow, labels: dict[Axis, Label]) -> Units:
    """Candidates of a propagated graph."""
    atoms = flow.atoms
    roots = atoms.roots()
    count = len(atoms)
    owner, owned = atoms.ownership()
    owns = _matrix(owner, owned, (count, count))
    axes = [axis for axis, label in labels.items() if label is not None]
    at = [roots[labels[axis]] for axis in axes]
    position_axis = np.repeat(np.arange(len(axes)), [len(a) for a in at])
    position = np.concatenate([np.arange(len(a)) for a in at]) if at else np.zeros(0, np.int64)
    column = np.concatenate(at) if at else np.zeros(0, np.int64)
    where = _matrix(column, np.arange(len(column)), (count, len(column)))

    used = np.zeros(count, bool)
    used[column] = True
    used[owner] = True
    used[atoms.dependent()] = False
    used[roots[flow.batch]] = False
    candidates = np.flatnonzero(used)
    closure = _closure(candidates, owns, count)
    positions = _binary(closure @ where)
    some = np.diff(positions.indptr) > 0
    candidates, closure, positions = candidates[some], closure[some], positions[some]
    reasons = _reasons(flow, roots, closure)
    for row, why in _broken_boxes(flow, roots, closure).items():
        reasons[row] = reasons[row] or why
    treatment = _row_sums(closure, atoms.treatments())
    return Units(roots, candidates, closure, reasons, axes, position_axis, position, positions, treatment)


def _matrix(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sparse.csr_array:
    return _binary(sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape))


def _binary(matrix: sparse.csr_array) -> sparse.csr_array:
    matrix = sparse.csr_array(matrix)
    matrix.data[:] = 1
    matrix.sort_indices()
    return matrix


def _closure(candidates: IntArray, owns: sparse.csr_array, count: int) -> sparse.csr_array:
    """Reachability from every candidate along ownership; ownership nests a handful of levels at the most."""
    reached = _matrix(np.arange(len(candidates)), candidates, (len(candidates), count))
    frontier = reached
    while frontier.nnz:
        grown = _binary(reached + frontier @ owns)
        frontier = sparse.csr_array(grown - reached)
        frontier.eliminate_zeros()
        reached = grown
    return reached


def _reasons(flow: Flow, roots: IntArray, closure: sparse.csr_array) -> list[str]:
    locked = flow.atoms.locked()
    flag = np.zeros(len(flow.atoms), bool)
    flag[list(locked)] = True
    reasons = []
    for row in range(closure.shape[0]):
        dies = closure.indices[closure.indptr[row] : closure.indptr[row + 1]]
        hit = dies[flag[dies]]
        reasons.append(locked[int(hit[0])] if len(hit) else "")
    return reasons


def _broken_boxes(flow: Flow, roots: IntArray, closure: sparse.csr_array) -> dict[int, str]:
    """Candidates that would leave a reshape without a dense box.

    Slots own their rows, so what dies in a box includes the rows of its dead slots; it is a dense box again exactly
    when nothing else dies, and that is a matter of counting.
    """
    boxes = [b for b in flow.boxes if not any(isinstance(label, Varying) for _, label in b.factors)]
    if not boxes:
        return {}
    count = len(flow.atoms)
    grid_rows = np.concatenate([roots[b.axis] for b in boxes])
    grid_columns = np.repeat(np.arange(len(boxes)), [len(b.axis) for b in boxes])
    in_grid = closure @ sparse.csr_array(
        (np.ones(len(grid_rows), np.int32), (grid_rows, grid_columns)), shape=(count, len(boxes))
    )
    broken: dict[int, str] = {}
    dead_in_grid = sparse.csc_array(in_grid)
    for number, box in enumerate(boxes):
        rows = dead_in_grid.indices[dead_in_grid.indptr[number] : dead_in_grid.indptr[number + 1]]
        if not len(rows):
            continue
        dead = dead_in_grid.data[dead_in_grid.indptr[number] : dead_in_grid.indptr[number + 1]]
        alive = np.ones(len(rows), np.int64)
        part = closure[rows]
        for size, label in box.factors:
            assert not isinstance(label, Varying)  # free splits are counted row by row in `rows.py`
            gone = 0 if label is None else part @ np.bincount(roots[label], minlength=count).astype(np.int32)
            alive = alive * (size - gone)
        for row in rows[dead != prod(box.dims) - alive].tolist():
            broken.setdefault(
                int(row), f"{box.where} views {len(box.axis)} positions as {box.dims}, which would not stay a full box"
            )
    return broken


def _row_sums(matrix: sparse.csr_array, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    padded = np.append(values[matrix.indices], np.uint64(0))
    sums = np.add.reduceat(padded, np.minimum(matrix.indptr[:-1], len(padded) - 1)) if matrix.shape[0] else padded[:0]
    return np.asarray(sums, np.uint64)
