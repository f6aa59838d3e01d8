"""What a criterion decides: four small functions between a model's weights and a score per unit.

Everything else, which positions of which tensors belong to which unit, is the same for all of them (reduce.py):

    weights, gradients --quantity--> a number per weight
        --sum over the unit's part of one slice--> --of_slice--> a number per slice and unit
        --sum over the group's slices--> --of_unit--> a number per unit, added up over batches
        --finish--> the score
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Totals:
    """What `finish` may use beside the sums; all float64 on the CPU. A layer alone is one slice with memory 1.

    Attributes:
        batches: batches behind the sums, 1 for a criterion without data.
        slices: (units,) slices that each unit's sum was taken over.
        memory: (units,) activations of the unit's group for one sample, see `reduce.activation_memory`.
        seed: for criteria that draw.
    """

    batches: int
    slices: Tensor
    memory: Tensor
    seed: int


class Criterion:
    """A criterion that leaves everything as it is; each real one replaces one or two of the steps."""

    name: str
    title: str
    needs_data: bool = False

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        """A number for every weight, same shape; `gradient` is of the loss, mean over the batch, where data is needed."""
        raise NotImplementedError

    def of_slice(self, sums: Tensor) -> Tensor:
        return sums

    def of_unit(self, sums: Tensor) -> Tensor:
        return sums

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals
