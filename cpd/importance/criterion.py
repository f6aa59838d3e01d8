"""What a criterion that puts a number on every weight decides: four small functions from weights to a score per unit.

Criteria that look at more than single weights, distances or activations, are observers (observer.py). Here everything
else, which positions of which tensors belong to which unit, is the same for all (reduce.py):

    weights, derivatives --quantity--> a number per weight
        --sum over the unit's part of one slice--> --of_slice--> a number per slice and unit
        --sum over the group's slices--> --of_unit--> a number per unit, added up over batches
        --finish--> the score
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cpd.comb.record import CombRecord
from cpd.importance.scores import FloatArray
from cpd.prune.cost import Keep


@dataclass(frozen=True)
class Totals:
    """What `finish` may use beside the sums; all float64 on the CPU. A layer alone is one slice with memory 1.

    Attributes:
        batches: batches behind the sums, 1 for a criterion without data.
        slices: (units,) slices that each unit's sum was taken over.
        memory: (units,) activations of the unit's group for one sample, see `reduce.activation_memory`.
        seed: for criteria that draw.
        groups: first unit of every group, and the number of all units at the end.
    """

    batches: int
    slices: Tensor
    memory: Tensor
    seed: int
    groups: tuple[int, ...]


class Criterion:
    """A criterion that leaves everything as it is; each real one replaces one or two of the steps."""

    name: str
    title: str
    needs_data: bool = False

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        """A number for every weight, same shape; `gradient` is that of the loss, mean over the batch, where the registry
        says that the criterion reads gradients, and an estimate of the Hessian's diagonal where it reads curvature."""
        raise NotImplementedError

    def of_slice(self, sums: Tensor) -> Tensor:
        return sums

    def of_unit(self, sums: Tensor) -> Tensor:
        return sums

    def factors(self, record: CombRecord, keep: Keep | None) -> FloatArray | None:
        """(slices and units,) what the number of every slice and unit is multiplied by, in the order of
        `reduce.Reducer.per_slice`; None for 1."""
        return None

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals


class FirstOrder(Criterion):
    """A criterion of w * g: what the loss changes by, to first order, when a weight goes to zero."""

    needs_data = True

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        assert gradient is not None
        return weight * gradient
