"""What a loss is given: one batch, seen by the student and, where there is one, by the teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """One batch. Class scores lie along axis 1, (B, classes) or (B, classes, H, W).

    Attributes:
        student, teacher: outputs; no teacher where the dense model is trained. The teacher's carry no gradient.
        targets: class numbers, as the task gives them.
        task_loss: the task's own loss of (outputs, targets), a mean.
        temperature: of the soft logits.
        pairs: (student's, teacher's) activations of the same layers on the same channels.
    """

    student: Tensor
    teacher: Tensor | None
    targets: Tensor
    task_loss: Callable[[Tensor, Tensor], Tensor]
    temperature: float = 1.0
    pairs: tuple[tuple[Tensor, Tensor], ...] = ()


Loss = Callable[[Seen], Tensor]  # -> a scalar
