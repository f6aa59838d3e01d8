"""The task's own loss: what the labels say."""

from __future__ import annotations

from torch import Tensor

from cpd.distill.losses.term import Seen


def task(seen: Seen) -> Tensor:
    """Mean loss of the student against the labels, e.g. cross entropy."""
    return seen.task_loss(seen.student, seen.targets)
