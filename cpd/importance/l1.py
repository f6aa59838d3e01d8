"""L1 magnitude."""

from __future__ import annotations

from torch import Tensor

from cpd.importance.criterion import Criterion


class L1(Criterion):
    """Sum of absolute weights over everything that leaves with the unit: filters, norm weights and readers.

    Source: Li et al. 2017, arXiv:1608.08710, for single filters; the sum over the whole group is ours.
    """

    name = "l1"
    title = "L1 magnitude"

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        return weight.abs()
