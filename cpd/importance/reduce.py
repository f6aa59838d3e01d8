"""From a number per weight to a number per unit: every slice of every group, in a handful of whole-model operations.

Each tensor is summed to one vector per axis that some group cuts; the vectors lie one after another in a flat array
of dense positions, and one `index_add_` gathers the positions of every (slice, unit), a second one the slices of
every unit. A student that is already cut fills only the positions that still live; its dead units sum to 0.

An element that a unit owns through two slices of one tensor (row u and column u of a square weight meet in one
element) is counted in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.importance.scores import FloatArray
from cpd.prune.cost import Keep
from cpd.prune.index import kept_positions
from cpd.prune.positions import output_positions


class Reducer:
    """The index arrays of one comb and one set of living units, on one device.

    Attributes:
        vectors: (tensor, axis) of every vector, in the order of the flat array.
        layers: tensor -> where its first axis lies in the flat array, living positions only.
        slices_of_unit: (units,) slices behind each unit's sum.
    """

    def __init__(self, record: CombRecord, device: torch.device, keep: Keep | None = None) -> None:
        self.record = record
        parameters = {t.name: t for t in record.tensors if t.is_parameter}
        living = kept_positions(record, keep) if keep else {}
        used = {(p.tensor, p.axis) for g in record.groups for p in g.slices if p.tensor in parameters}
        used |= {(t.name, 0) for t in parameters.values() if len(t.shape) > 1 and t.name.endswith("weight")}
        order = {name: i for i, name in enumerate(parameters)}
        self.vectors = sorted(used, key=lambda item: (order[item[0]], item[1]))

        offset: dict[tuple[str, int], int] = {}
        place: list[np.ndarray] = []
        length = 0
        self.layers: dict[str, Tensor] = {}
        for tensor, axis in self.vectors:
            size = parameters[tensor].shape[axis]
            alive = living[tensor][axis] if living else None
            here = length + (np.arange(size) if alive is None else alive)
            offset[tensor, axis] = length
            place.append(here)
            if axis == 0 and len(parameters[tensor].shape) > 1 and tensor.endswith("weight"):
                self.layers[tensor] = torch.as_tensor(here)
            length += size

        source: list[np.ndarray] = []
        target: list[np.ndarray] = []
        units: list[np.ndarray] = []
        rows = 0
        for group in record.groups:
            for piece in group.slices:
                if piece.tensor not in parameters:
                    continue
                width, k = piece.index.shape
                source.append(offset[piece.tensor, piece.axis] + piece.index.reshape(-1))
                target.append(rows + np.repeat(np.arange(width), k))
                units.append(record.first_unit[group.name] + np.arange(width))
                rows += width
        self.units = sum(g.width for g in record.groups)
        self._length, self._rows = length, rows
        self._place = _index(place, device)
        self._source, self._target = _index(source, device), _index(target, device)
        self._unit_of_row = _index(units, device)
        counts = np.bincount(np.concatenate([*units, np.zeros(0, np.int64)]), minlength=self.units)
        self.slices_of_unit = torch.as_tensor(np.maximum(counts, 1), dtype=torch.float64)

    def flat(self, quantity: Callable[[str], Tensor]) -> Tensor:
        """(positions,) sums of `quantity(tensor name)` over all axes but one, for every vector, float32."""
        sums: list[Tensor] = []
        last, values = "", torch.empty(0)
        for tensor, axis in self.vectors:
            if tensor != last:
                last, values = tensor, quantity(tensor)
            others = [a for a in range(values.dim()) if a != axis]
            sums.append((values.sum(others) if others else values).float())
        result = torch.zeros(self._length, device=self._place.device)
        if sums:
            result[self._place] = torch.cat(sums)
        return result

    def per_slice(self, flat: Tensor) -> Tensor:
        """(slices and units,) sum over the positions that each unit owns in each slice."""
        return flat.new_zeros(self._rows).index_add_(0, self._target, flat[self._source])

    def per_unit(self, rows: Tensor) -> Tensor:
        """(units,) sum over the slices of each unit, units of all groups one group after another."""
        return rows.new_zeros(self.units).index_add_(0, self._unit_of_row, rows)

    def by_group(self, units: Tensor) -> dict[str, FloatArray]:
        """A (units,) tensor as one array per group."""
        values = units.double().cpu().numpy()
        first = self.record.first_unit
        return {g.name: values[first[g.name] : first[g.name] + g.width] for g in self.record.groups}


def activation_memory(record: CombRecord, keep: Keep | None = None) -> Tensor:
    """(units,) activations that each unit's group holds for one sample, float64, at least 1.

    An operator with a weight is applied once per output position: its MACs over its weight's elements are the spatial
    positions (or tokens). Times the living channels that the group writes there, over all operators that write the
    group: the memory by which Group Fisher Pruning divides.
    """
    positions, transposed = output_positions(record)
    rows = [np.full(g.width, max(1.0, _group_memory(g, positions, transposed, keep))) for g in record.groups]
    return torch.as_tensor(np.concatenate([*rows, np.zeros(0)]))


def _group_memory(group: Group, positions: Mapping[str, float], transposed: frozenset[str], keep: Keep | None) -> float:
    left = len(keep[group.name]) if keep and group.name in keep else group.width
    total = 0.0
    for piece in group.slices:
        writes = 1 if piece.tensor in transposed else 0
        if piece.tensor in positions and piece.axis == writes:
            total += positions[piece.tensor] * left * piece.index.shape[1]
    return total


def _index(parts: list[np.ndarray], device: torch.device) -> Tensor:
    joined = np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64)
    return torch.as_tensor(joined, device=device)
