"""What a loss is given: one batch, seen by the student and, where there is one, by the teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Pair(NamedTuple):
    """Activations of one layer, with the channels along `axis`.

    Attributes:
        student, teacher: on the channels that the student still has; equal shapes.
        whole: the teacher's, on all of its channels. Neither of the teacher's carries a gradient.
    """

    student: Tensor
    teacher: Tensor
    whole: Tensor
    axis: int


@dataclass(frozen=True)
class Seen:
    """One batch. Class scores lie along axis 1, (B, classes) or (B, classes, H, W).

    Attributes:
        student, teacher: outputs; no teacher where the dense model is trained. The teacher's carry no gradient.
        targets: class numbers, as the task gives them.
        task_loss: the task's own loss of (outputs, targets), a mean.
        temperature: of the soft logits.
        pairs: activations of the same layers, where a loss needs them.
    """

    student: Tensor
    teacher: Tensor | None
    targets: Tensor
    task_loss: Callable[[Tensor, Tensor], Tensor]
    temperature: float = 1.0
    pairs: tuple[Pair, ...] = ()


Loss = Callable[[Seen], Tensor]  # -> a scalar
