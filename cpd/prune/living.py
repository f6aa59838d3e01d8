"""A network on paper that shrinks and grows unit by unit, its sizes kept up as it does.

Pricing a plan counts all atoms anew; a search that tries thousands of small changes cannot afford that. Here a change
touches the atoms of the units that leave or return, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.comb.record import CombRecord, Ragged

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Living:
    """What is alive, as a number of units a group: every group loses its units in one fixed order.

    Attributes:
        counts: units that each group keeps now.
        sizes: (extents + 1,) living sizes as in `CostModel.sizes`: of the record's extents, then of `further` ones, and
            a last 1.
    """

    def __init__(
        self,
        record: CombRecord,
        values: Mapping[str, FloatArray],
        counts: Mapping[str, int],
        further: Sequence[Sequence[int]] = (),
    ) -> None:
        """`values` (width,) a group: units of least value leave first, equally many of every block."""
        self.record = record
        self.order = {g.name: leaving_order(g, values[g.name]) for g in record.groups}
        rows = [record.extents.row(i) for i in range(len(record.extents))] + [np.asarray(r, np.int64) for r in further]
        extents = Ragged.of(rows)
        self._extents = len(extents)
        # For every atom the extents that it sits in, as often as it does.
        owner = np.repeat(np.arange(len(extents)), np.diff(extents.start))
        named = extents.values >= 0
        by_atom = np.argsort(extents.values[named], kind="stable")
        self._extent_of = owner[named][by_atom]
        per_atom = np.bincount(extents.values[named], minlength=record.atoms)
        self._first = np.concatenate([[0], np.cumsum(per_atom)]).astype(np.int64)
        self._deaths = np.zeros(record.atoms, np.int64)  # how many dead units own each atom
        self.sizes = np.append(np.diff(extents.start).astype(np.float64), 1.0)
        self.counts = {g.name: g.width for g in record.groups}
        for name, count in counts.items():
            self.move({name: count})

    def sizes_at(self, counts: Mapping[str, int]) -> FloatArray:
        """Sizes with some groups at other counts; nothing changes."""
        change = self._change(counts)
        if change is None:
            return self.sizes
        return self._moved(*change)

    def move(self, counts: Mapping[str, int]) -> None:
        """Let some groups keep other numbers of units from now on."""
        change = self._change(counts)
        if change is not None:
            self.sizes = self._moved(*change)
            self._deaths[change[0]] = change[1]
        self.counts.update(counts)

    def keep(self, name: str, count: int | None = None) -> tuple[int, ...]:
        """The units that a group keeps now, or at another count."""
        order = self.order[name]
        left = self.counts[name] if count is None else count
        return tuple(np.sort(order[len(order) - left :]).tolist())

    def _change(self, counts: Mapping[str, int]) -> tuple[IntArray, IntArray] | None:
        """(atoms, deaths) that differ when groups keep other numbers of units."""
        atoms, signs = [], []
        for name, count in counts.items():
            now = self.counts[name]
            if count == now:
                continue
            order = self.order[name]
            width = len(order)
            units = order[width - max(now, count) : width - min(now, count)] + self.record.first_unit[name]
            found = _rows(self.record.unit_atoms, units)
            atoms.append(found)
            signs.append(np.full(len(found), 1 if count < now else -1))
        if not atoms:
            return None
        touched, where = np.unique(np.concatenate(atoms), return_inverse=True)
        change = np.bincount(where, np.concatenate(signs), len(touched)).astype(np.int64)
        return touched, self._deaths[touched] + change

    def _moved(self, atoms: IntArray, deaths: IntArray) -> FloatArray:
        before = self._deaths[atoms]
        died, rose = atoms[(before == 0) & (deaths > 0)], atoms[(before > 0) & (deaths == 0)]
        sizes = self.sizes.copy()
        for changed, sign in ((died, -1.0), (rose, 1.0)):
            if len(changed):
                extents = _spans(self._extent_of, self._first, changed)
                sizes[:-1] += sign * np.bincount(extents, minlength=self._extents)
        return sizes


def leaving_order(group: Group, values: FloatArray) -> IntArray:
    """(width,) units in the order in which they leave: whatever is left at any legal count is `keep_top` of it."""
    blocks = np.zeros(group.width, np.int64) if group.blocks is None else np.asarray(group.blocks)
    rank = np.empty(group.width, np.int64)
    for block in np.unique(blocks):
        units = np.flatnonzero(blocks == block)
        rank[units[np.argsort(-values[units], kind="stable")]] = np.arange(len(units))
    return np.argsort(-rank, kind="stable")


def _rows(ragged: Ragged, numbers: IntArray) -> IntArray:
    return _spans(ragged.values, ragged.start, numbers)


def _spans(values: IntArray, start: IntArray, numbers: IntArray) -> IntArray:
    """values[start[i]:start[i + 1]] of all `numbers`, joined."""
    first = start[numbers]
    lengths = start[numbers + 1] - first
    shift = np.repeat(first - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return np.asarray(values[shift + np.arange(int(lengths.sum()))], np.int64)
