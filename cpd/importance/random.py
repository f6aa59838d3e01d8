"""Random scores, the control that every other criterion has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from cpd.importance.criterion import Criterion, Totals


class Random(Criterion):
    """Uniform in [0, 1), the same for the same seed and the same comb."""

    name = "random"
    title = "Random (control)"

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        return torch.zeros_like(weight)

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        generator = torch.Generator().manual_seed(about.seed)
        return torch.rand(len(totals), generator=generator, dtype=torch.float64)
