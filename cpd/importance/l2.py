"""L2 magnitude."""

from __future__ import annotations

from torch import Tensor

from cpd.importance.criterion import Criterion, Totals


class L2(Criterion):
    """Euclidean norm of all weights that leave with the unit.

    Source: group magnitude as in Fang et al. 2023, arXiv:2301.12900, section 3.3, without its normalisation by the
    group's mean, which the planner applies when it compares groups.
    """

    name = "l2"
    title = "L2 magnitude"

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        return weight.square()

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals.sqrt()
