"""The teacher's softened answer."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cpd.distill.losses.term import Seen


def soft_logits(seen: Seen) -> Tensor:
    """T^2 * KL(teacher || student) of the class distributions at temperature T, mean over samples (and pixels).

    T^2 keeps the gradient's size when T changes.
    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.
    """
    assert seen.teacher is not None
    t = seen.temperature
    student = functional.log_softmax(seen.student / t, dim=1)
    teacher = functional.log_softmax(seen.teacher / t, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return divergence.mean() * (t * t)
