"""Distance to the other units of the group: filter pruning via geometric median."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cpd.comb.group import Group, IntArray
from cpd.importance.observer import Batch, Observer

_ROWS = 1024  # units whose distances to all others are held at once


class Fpgm(Observer):
    """Sum of the unit's Euclidean distances to every other unit it may be exchanged with.

        FPGM(u) = sum over v of || x_u - x_v ||_2

    The unit with the least sum is nearest to the geometric median: the others can best stand in for it. x_u is
    everything that leaves with unit u, the weights of all slices of its group as one vector; distances are taken within
    a block, since units are only exchanged there. Locked groups have nothing to choose from and are left silent.
    Source: He et al. 2019, arXiv:1811.00250, equation 4, for the filters of one layer, which is what the scores per
    layer are.
    """

    name = "fpgm"
    title = "Geometric median (FPGM)"

    def observe(self, batch: Batch | None, tick: Callable[[], None]) -> Tensor:
        subject, result = self.subject, self.silent()
        for group in subject.record.groups:
            if not group.prunable:
                continue
            left = subject.left(group.name)
            blocks = np.zeros(len(left), np.int64) if group.blocks is None else np.asarray(group.blocks)[left]
            rows = self._rows(group, left)
            if rows:
                first = subject.record.first_unit[group.name]
                result[first + torch.as_tensor(left)] = distance_sums(rows, torch.as_tensor(blocks))
            for piece in group.slices:
                module, _, leaf = piece.tensor.rpartition(".")
                weight = subject.parameters.get(piece.tensor)
                alone = weight is not None and weight.dim() > 1 and piece.axis == 0 and leaf == "weight"
                if weight is not None and alone and module not in self._layers:
                    filters = [weight.detach().flatten(1)]
                    self.note(piece.tensor, distance_sums(filters, torch.zeros(len(weight))))
            tick()
        return result

    @property
    def steps(self) -> int:  # type: ignore[override]
        return sum(group.prunable for group in self.subject.record.groups)

    def _rows(self, group: Group, left: list[int]) -> list[Tensor]:
        """For every slice (units left, weights of one unit)."""
        rows = []
        for piece in group.slices:
            weight = self.subject.parameters.get(piece.tensor)
            if weight is None:
                continue
            where = piece.index[left]
            alive: IntArray | None = self.subject.living[piece.tensor][piece.axis] if self.subject.living else None
            if alive is not None:  # a head's channels may be cut as well: only positions that live are there
                inside = np.isin(where, alive)
                where = np.searchsorted(alive, where[inside].reshape(len(left), -1))
            moved = weight.detach().movedim(piece.axis, 0)
            picked = moved[torch.as_tensor(where, device=weight.device)]
            rows.append(picked.reshape(len(left), -1))
        return rows


def distance_sums(rows: Sequence[Tensor], blocks: Tensor) -> Tensor:
    """(units,) float64 on the CPU: for every unit the sum of distances to the units of its block.

    Args:
        rows: (units, features) tensors; a unit's vector is its rows side by side.
        blocks: (units,) block of every unit.
    """
    wide = [row.cpu().double() for row in rows]
    # The mean cancels in differences, and taking it out keeps the products below from swamping them.
    wide = [row - row.mean(0) for row in wide]
    squares = torch.stack([row.square().sum(1) for row in wide]).sum(0)
    sums = []
    for some in torch.arange(len(blocks)).split(_ROWS):
        products = torch.stack([row[some] @ row.T for row in wide]).sum(0)
        distance = (squares[some, None] + squares - 2 * products).clamp_min(0).sqrt()
        distance[torch.arange(len(some)), some] = 0.0
        sums.append((distance * (blocks[some, None] == blocks)).sum(1))
    return torch.cat(sums)
