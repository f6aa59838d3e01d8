"""Reshapes on labels: an axis split in parts must stay a dense box whatever is removed.

A reshape turns one axis of n = a*b positions into a box of a rows and b columns, or back. After a cut the living
positions must still fill a box, so what can be removed is a whole row or a whole column: a *slot*. Splitting an axis
gives fresh atoms to the rows and to the columns, which own the atoms of the axis. Merging two labelled axes gives
fresh atoms to the positions of the new axis, owned by the slots they came from.

Every box is remembered. An axis that was split or merged before is read as the product of its known factors, so that
reshaping back returns the same labels, and an axis split in two ways (8x8 here, 4x16 there) gets the finest structure
that both allow (4x2x8).

The rows need not all drop the same columns: it is enough that each drops equally many. So the innermost axis of a
split starts out *free*, with the atoms of the axis themselves as a label that varies from row to row. The first
operator that treats its positions alike over the rows (a norm with one scale for all heads, a weight shared by all
groups) takes that freedom back, and `forced` remembers it for the next pass over the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from cpd.comb.labels import Atoms, Free, IntArray, Label, Varying

Labelled = Label | Varying
Factor = tuple[int, Labelled]  # size of a factor axis, its label


@dataclass(frozen=True, eq=False)
class Box:
    """`axis` is the flattened product of `factors`, first factor slowest."""

    axis: IntArray
    factors: tuple[Factor, ...]
    where: str

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(size for size, _ in self.factors)


class Boxes:
    """All boxes of one graph.

    Attributes:
        forced: keys of splits whose rows must drop the same columns.
        free: splits whose rows need not.
    """

    def __init__(self, atoms: Atoms, forced: set[str] | None = None) -> None:
        self.atoms = atoms
        self.forced: set[str] = forced if forced is not None else set()
        self.free: list[Free] = []
        self._by_length: dict[int, list[Box]] = defaultdict(list)

    def __iter__(self) -> Iterator[Box]:
        for boxes in self._by_length.values():
            yield from boxes

    def plain(self, label: Labelled) -> Label:
        """The label as one atom a position: a varying one gets slots, and its split is forced."""
        if not isinstance(label, Varying):
            return label
        self.forced.add(label.source.key)
        slots = self._slots(len(label), f"{label.source.key} columns")
        self.atoms.own(np.broadcast_to(slots, label.atoms.shape).reshape(-1), label.atoms.reshape(-1))
        return slots

    def same(self, a: Labelled, b: Labelled) -> bool:
        """Whether two labels are the same atoms at every position."""
        if a is None or b is None:
            return a is b
        if isinstance(a, Varying) or isinstance(b, Varying):
            if not (isinstance(a, Varying) and isinstance(b, Varying)) or a.atoms.shape != b.atoms.shape:
                return False
            a, b = a.atoms.reshape(-1), b.atoms.reshape(-1)
        return a is b or (len(a) == len(b) and np.array_equal(self.atoms.find(a), self.atoms.find(b)))

    def reshape(
        self, labels: Sequence[Labelled], before: Sequence[int], after: Sequence[int], where: str
    ) -> list[Labelled]:
        """Labels of a value of shape `after` made from one of shape `before` without moving data."""
        result: list[Labelled] = [None] * len(after)
        for ins, outs in matched_axes(before, after):
            if not outs or all(labels[i] is None for i in ins):
                continue
            if len(ins) == 1 and len(outs) == 1:
                result[outs[0]] = labels[ins[0]]
                continue
            factors = [f for i in ins for f in self._factors(before[i], labels[i])]
            for out, label in zip(outs, self._regroup(factors, [after[o] for o in outs], where), strict=True):
                result[out] = label
        return result

    def merge(self, factors: Sequence[Factor], where: str) -> Labelled:
        """The label of the axis that flattens `factors`."""
        factors = [f for f in factors if f[0] > 1]
        labelled = [i for i, (_, label) in enumerate(factors) if label is not None]
        if not labelled:
            return None
        if len(factors) == 1:
            return factors[0][1]
        dims = [size for size, _ in factors]
        for box in self._by_length[prod(dims)]:
            if box.dims == tuple(dims) and all(
                self.same(a, b) for (_, a), (_, b) in zip(box.factors, factors, strict=True)
            ):
                return box.axis
        whole = self._flattened(factors)
        if whole is not None:
            self._by_length[len(whole)].append(Box(whole, tuple(factors), where))
            return whole
        factors = [(size, self.plain(label)) for size, label in factors]
        if len(labelled) == 1:
            core = self.plain(factors[labelled[0]][1])
            assert core is not None
            shape = [1] * len(dims)
            shape[labelled[0]] = dims[labelled[0]]
            axis = np.broadcast_to(core.reshape(shape), dims).reshape(-1).copy()
        else:
            shape = [size if i in labelled else 1 for i, size in enumerate(dims)]
            grid = self.atoms.new(prod(shape)).reshape(shape)
            self._own(grid, factors)
            axis = np.broadcast_to(grid, dims).reshape(-1).copy()
        self._by_length[len(axis)].append(Box(axis, tuple(factors), where))
        return axis

    def _flattened(self, factors: Sequence[Factor]) -> IntArray | None:
        """The atoms of a varying label beside exactly the axes that it varies with, in any order."""
        varying = [label for _, label in factors if isinstance(label, Varying)]
        if len(varying) != 1 or len(factors) != len(varying[0].context) + 1:
            return None
        order = []
        for _, label in factors:
            if label is varying[0]:
                order.append(len(varying[0].context))
                continue
            at = [i for i, c in enumerate(varying[0].context) if i not in order and self.same(c, label)]
            if not at:
                return None
            order.append(at[0])
        return varying[0].atoms.transpose(order).reshape(-1)

    def split(self, label: Label, dims: Sequence[int], where: str) -> list[Labelled]:
        """Labels of the axes that `label`'s axis becomes when viewed as `dims`."""
        if label is None:
            return [None] * len(dims)
        return self._regroup(self._factors(len(label), label), dims, where)

    def settle(self) -> None:
        """Boxes over the same positions have the same slots: axes that met after they were split are found here."""
        changed = True
        while changed:
            changed = False
            for boxes in self._by_length.values():
                first: dict[bytes, Box] = {}
                for box in boxes:
                    known = first.setdefault(self.atoms.find(box.axis).tobytes(), box)
                    if known is box:
                        continue
                    if known.dims != box.dims:
                        for one in (known, box):
                            self.atoms.lock(
                                one.axis,
                                f"it is split as {known.dims} at {known.where} and as {box.dims} at {box.where}",
                            )
                        continue
                    for (_, a), (_, b) in zip(known.factors, box.factors, strict=True):
                        if self.same(a, b):
                            continue
                        left, right = self.plain(a), self.plain(b)
                        if left is None or right is None:
                            self.atoms.lock(
                                right if left is None else left, f"it meets an axis of fixed size at {box.where}"
                            )
                            continue
                        self.atoms.union(left, right)
                        changed = not (isinstance(a, Varying) or isinstance(b, Varying)) or changed

    def _factors(self, size: int, label: Labelled) -> list[Factor]:
        """The known factors of an axis, finest first known."""
        if label is not None and not isinstance(label, Varying):
            roots = self.atoms.find(label)
            for box in self._by_length[size]:
                if self.atoms.find(box.axis[:1])[0] == roots[0] and np.array_equal(self.atoms.find(box.axis), roots):
                    return [f for n, inner in box.factors for f in self._factors(n, inner)]
        return [(size, label)]

    def _regroup(self, factors: list[Factor], dims: Sequence[int], where: str) -> list[Labelled]:
        """Labels of axes `dims` that hold the same positions as the product of `factors`."""
        fine = refine([n for n, _ in factors], list(dims))
        if fine is None:
            for _, label in factors:
                self.atoms.lock(
                    self.plain(label),
                    f"it is viewed as {tuple(dims)} at {where}, which does not fit {tuple(n for n, _ in factors)}",
                )
            axis = self.plain(self.merge(factors, where))
            self.atoms.lock(axis, f"it is viewed as {tuple(dims)} at {where}")
            return [None] * len(dims)
        pieces: list[Factor] = []
        for (size, label), parts in zip(factors, _grouped(fine, [n for n, _ in factors]), strict=True):
            pieces += [(size, label)] if len(parts) == 1 else self._break(self.plain(label), parts, where)
        result: list[Labelled] = []
        for size, parts in zip(dims, _grouped(fine, list(dims)), strict=True):
            mine, pieces = pieces[: len(parts)], pieces[len(parts) :]
            result.append(None if size == 1 else self.merge(mine, where))
        return result

    def _break(self, label: Label, dims: Sequence[int], where: str) -> list[Factor]:
        """Slots for an axis that was never split before."""
        if label is None:
            return [(n, None) for n in dims]
        grid = self.atoms.find(label).reshape(dims)
        # An axis along which the atoms repeat (batch merged with space) has nothing of its own to remove.
        own = [i for i, n in enumerate(dims) if n > 1 and not bool((grid == grid.take([0], i)).all())]
        key = f"{where} {tuple(dims)}"
        distinct = len(np.unique(grid)) == grid.size
        if len(own) == len(dims) and distinct and key not in self.forced:
            return self._free(label, dims, where, key)
        factors: list[Factor] = [(n, self._slots(n, f"{key} {i}") if i in own else None) for i, n in enumerate(dims)]
        if not own:
            self.atoms.lock(label, f"all positions of the axis split at {where} go together")
        if len(own) == 1:  # no box: the one axis that varies keeps its atoms
            index = tuple(slice(None) if i == own[0] else 0 for i in range(len(dims)))
            factors[own[0]] = (dims[own[0]], np.asarray(grid[index]).reshape(-1))
        else:
            self._own(label.reshape(dims), factors)
        self._by_length[len(label)].append(Box(label, tuple(factors), where))
        return factors

    def _free(self, label: IntArray, dims: Sequence[int], where: str, key: str) -> list[Factor]:
        """Slots for all axes but the last, whose atoms stay those of the axis, row by row."""
        rows = [self._slots(n, f"{key} {i}") for i, n in enumerate(dims[:-1])]
        grid = label.reshape(dims)
        for i, slots in enumerate(rows):
            shape = [1] * grid.ndim
            shape[i] = len(slots)
            self.atoms.own(np.broadcast_to(slots.reshape(shape), dims).reshape(-1), label, free=True)
        source = Free(key, grid)
        self.free.append(source)
        last = Varying(grid, tuple(rows), source)
        factors: list[Factor] = [*zip(dims[:-1], rows, strict=True), (dims[-1], last)]
        self._by_length[len(label)].append(Box(label, tuple(factors), where))
        return factors

    def _slots(self, number: int, key: str) -> IntArray:
        """Fresh slots; those of different axes are never exchangeable, not even where they own as many positions."""
        slots = self.atoms.new(number)
        self.atoms.treat(slots, key)
        return slots

    def _own(self, grid: IntArray, factors: Sequence[Factor]) -> None:
        """Every slot of every labelled factor owns the positions of its row of `grid` (size 1 where unlabelled)."""
        for i, (size, labelled) in enumerate(factors):
            label = self.plain(labelled)
            if label is None:
                continue
            shape = [1] * grid.ndim
            shape[i] = size
            owners = np.broadcast_to(label.reshape(shape), grid.shape)
            self.atoms.own(owners.reshape(-1), grid.reshape(-1))


def matched_axes(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of axes with equal products, axes of size 1 left out: (axes of `before`, axes of `after`)."""
    ins = [i for i, n in enumerate(before) if n != 1]
    outs = [i for i, n in enumerate(after) if n != 1]
    runs: list[tuple[list[int], list[int]]] = []
    while ins and outs:
        a, b = [ins.pop(0)], [outs.pop(0)]
        left, right = before[a[0]], after[b[0]]
        while left != right:
            if left < right:
                a.append(ins.pop(0))
                left *= before[a[-1]]
            else:
                b.append(outs.pop(0))
                right *= after[b[-1]]
        runs.append((a, b))
    return runs


def refine(one: Sequence[int], other: Sequence[int]) -> list[int] | None:
    """The coarsest factorisation that refines both, or None where the two do not nest: (8, 8), (4, 16) -> [4, 2, 8]."""
    total = prod(one)
    strides: set[int] = {total}
    for dims in (one, other):
        stride = 1
        for n in reversed(dims):
            strides.add(stride)
            stride *= n
    ordered = sorted(strides, reverse=True)
    if any(high % low for high, low in zip(ordered, ordered[1:], strict=False)):
        return None
    return [high // low for high, low in zip(ordered, ordered[1:], strict=False)] or [1]


def _grouped(fine: Sequence[int], coarse: Sequence[int]) -> list[list[int]]:
    """`fine` cut in runs whose products are `coarse`."""
    rest, result = list(fine), []
    for n in coarse:
        run: list[int] = []
        while prod(run) != n:
            run.append(rest.pop(0))
        result.append(run)
    return result
