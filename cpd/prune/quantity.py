"""What a target is about: a share of the multiply-accumulates or parameters, or milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cpd.prune.cost import CostModel
from cpd.prune.latency import LatencyModel

FloatArray = npt.NDArray[np.float64]


class Quantity(Protocol):
    """How much a network takes of something.

    Attributes:
        name: as in targets.
        further: extents that it needs beside the record's.
        hanging: per group, what would go if all of its units went. Neighbours overlap.
    """

    name: str

    @property
    def further(self) -> Sequence[Sequence[int]]: ...
    @property
    def hanging(self) -> Mapping[str, float]: ...
    def at(self, sizes: FloatArray) -> float:
        """Its amount at living sizes as `Living.sizes` gives them."""
        ...

    def words(self, amount: float) -> str:
        """An amount for people."""
        ...


class Share:
    """MACs or parameters as a share of the dense network's."""

    further: Sequence[Sequence[int]] = ()

    def __init__(self, costs: CostModel, name: str) -> None:
        self.costs, self.name = costs, name

    @cached_property
    def hanging(self) -> Mapping[str, float]:
        return {group: shares[self.name] for group, shares in self.costs.shares.items()}

    def at(self, sizes: FloatArray) -> float:
        if self.name == "macs":
            return float(self.costs.operator_macs(sizes).sum()) / max(self.costs.dense.macs, 1e-30)
        return self.costs.price_sizes(sizes).parameters / self.costs.dense.parameters

    def words(self, amount: float) -> str:
        return f"{amount:.1%} of the dense model's"


class Milliseconds:
    """Estimated latency of one pass."""

    name = "latency_ms"

    def __init__(self, latency: LatencyModel) -> None:
        self.latency = latency

    @property
    def further(self) -> Sequence[Sequence[int]]:
        return self.latency.table.extents

    @cached_property
    def hanging(self) -> Mapping[str, float]:
        record = self.latency.costs.record
        units, dense = record.unit_atoms, self.latency.milliseconds(np.zeros(record.atoms + 1, bool))
        result = {}
        for group in record.groups:
            first = record.first_unit[group.name]
            dead = np.zeros(record.atoms + 1, bool)
            dead[units.values[units.start[first] : units.start[first + group.width]]] = True
            result[group.name] = dense - self.latency.milliseconds(dead)
        return result

    def at(self, sizes: FloatArray) -> float:
        return self.latency.of_sizes(sizes[:-1])

    def words(self, amount: float) -> str:
        return f"{amount:.3g} ms"
