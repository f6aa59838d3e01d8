"""First-order Taylor."""

from __future__ import annotations

from torch import Tensor

from cpd.importance.criterion import FirstOrder, Totals


class Taylor(FirstOrder):
    """Absolute first-order change of the loss if the unit were set to zero, mean over batches: mean |sum w * g|.

    The sum runs over all of the unit's weights in all slices, batch-norm weights and biases included, before the
    absolute value is taken, so that terms that cancel in the network cancel here.
    Source: Molchanov et al. 2019, arXiv:1906.10771, equation 7 (there squared), with one joint gate for the group.
    """

    name = "taylor"
    title = "Taylor, first order"

    def of_unit(self, sums: Tensor) -> Tensor:
        return sums.abs()

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals / about.batches
