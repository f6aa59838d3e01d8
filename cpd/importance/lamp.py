"""LAMP, layer-adaptive magnitude."""

from __future__ import annotations

import torch
from torch import Tensor

from cpd.importance.criterion import Criterion, Totals


class Lamp(Criterion):
    """The unit's squared magnitude as a share of all that is left once every smaller unit of its group has gone.

        LAMP(u) = m_u / sum of m_v over all v with m_v >= m_u,     m_u = sum of w^2 over everything that leaves with u

    Source: Lee et al. 2021, arXiv:2010.07611, equation 2, for single weights of one layer. Here a unit takes the place
    of the weight and its group that of the layer; units of equal magnitude count each other, so that none of them
    comes first by chance. The best unit of every group scores 1: scores are comparable between groups as they are.
    """

    name = "lamp"
    title = "LAMP"

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        return weight.square()

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        groups = zip(about.groups, about.groups[1:], strict=False)
        return torch.cat([_share_of_survivors(totals[a:b]) for a, b in groups] or [totals])


def _share_of_survivors(magnitude: Tensor) -> Tensor:
    values, place = magnitude.unique(return_inverse=True)  # ascending
    left = (values * place.bincount(minlength=len(values))).flip(0).cumsum(0).flip(0)
    share: Tensor = values / left.clamp_min(1e-300)
    return share[place]
