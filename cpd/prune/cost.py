"""Parameters and multiply-accumulates of any plan, by counting living atoms.

Every operator's MACs are a factor times a product of axis sizes, every tensor's elements a product of axis sizes, and
every axis size is a count of atoms that the plan leaves alive. No model is touched; a plan of 100 groups is priced in
well under a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cpd.comb.record import CombRecord

Keep = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Cost:
    """Size of a model: multiply-accumulates for one sample (1 MAC = 2 FLOPs) and parameters."""

    macs: float
    parameters: int

    def share_of(self, dense: Cost) -> dict[str, float]:
        """Each quantity as a fraction of the dense model's, under the names that targets use."""
        return {"macs": self.macs / dense.macs if dense.macs else 1.0, "params": self.parameters / dense.parameters}


class CostModel:
    """Prices plans of one comb."""

    def __init__(self, record: CombRecord) -> None:
        self.record = record
        extents = record.extents
        fixed = len(extents)  # one more extent of size 1, for axes that multiply nothing
        self._atom_at = np.where(extents.values < 0, record.atoms, extents.values)
        # reduceat cannot sum an empty last row; extents are never empty by construction
        self._start = extents.start[:-1]
        units = record.unit_atoms
        self._unit_of = np.repeat(np.arange(len(units)), np.diff(units.start))
        operators = record.operators
        self._factor = np.array([o.factor for o in operators])
        self._operator_extents = _padded([o.extents for o in operators], fixed)
        tensors = [t for t in record.tensors if t.is_parameter]
        constants = [
            np.prod([n for n, e in zip(t.shape, t.extents, strict=True) if e < 0], dtype=np.float64) for t in tensors
        ]
        self._tensor_constant = np.array(constants)
        self._tensor_extents = _padded([[e for e in t.extents if e >= 0] for t in tensors], fixed)

    def dead(self, keep: Keep) -> npt.NDArray[np.bool_]:
        """(atoms,) True where an atom dies with the units that `keep` leaves out; groups not named stay whole."""
        gone = np.zeros(len(self.record.unit_atoms), bool)
        for name, kept in keep.items():
            first, width = self.record.first_unit[name], self.record.by_name[name].width
            if len(kept) < width:
                gone[first : first + width] = True
                gone[first + np.asarray(kept, np.int64)] = False
        dead = np.zeros(self.record.atoms + 1, bool)
        dead[self.record.unit_atoms.values[gone[self._unit_of]]] = True
        return dead

    def price(self, keep: Keep) -> Cost:
        """Cost of the network that keeps `keep`."""
        return self.price_dead(self.dead(keep))

    def price_dead(self, dead: npt.NDArray[np.bool_]) -> Cost:
        return self.price_sizes(self.sizes(dead))

    def price_sizes(self, sizes: npt.NDArray[np.float64]) -> Cost:
        """Cost at given living sizes, as `sizes` gives them."""
        macs = float(self.operator_macs(sizes).sum())
        parameters = int(round((self._tensor_constant * sizes[self._tensor_extents].prod(1)).sum()))
        return Cost(macs, parameters)

    def sizes(self, dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """(extents + 1,) living size of every extent; the last one is 1."""
        alive = ~dead
        if not len(self._start):
            return np.ones(1)
        counts = np.add.reduceat(alive[self._atom_at].astype(np.float64), self._start)
        return np.append(counts, 1.0)

    def operator_macs(self, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(operators,) MACs of every operator in the record's order."""
        if not len(self._factor):
            return np.zeros(0)
        return np.asarray(self._factor * sizes[self._operator_extents].prod(1))

    @cached_property
    def dense(self) -> Cost:
        return self.price({})

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """For every group the share of the dense MACs and parameters that hang on it: what would go if all of its
        units went. Shares of neighbours overlap, since a weight between two groups hangs on both."""
        result = {}
        units = self.record.unit_atoms
        for group in self.record.groups:
            first = self.record.first_unit[group.name]
            dead = np.zeros(self.record.atoms + 1, bool)
            dead[units.values[units.start[first] : units.start[first + group.width]]] = True
            left = self.price_dead(dead).share_of(self.dense)
            result[group.name] = {name: 1 - share for name, share in left.items()}
        return result


def _padded(rows: Sequence[Sequence[int]], fill: int) -> npt.NDArray[np.int64]:
    """Rows of extent numbers as one rectangle, short rows filled with the extent of size 1."""
    longest = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), max(longest, 1)), fill, np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
