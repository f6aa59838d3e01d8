"""The teacher's decision, taken for a label."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cpd.distill.losses.term import Seen


def hard_labels(seen: Seen) -> Tensor:
    """Cross entropy of the student against the class the teacher finds likeliest, mean over samples (and pixels).

    Source: Touvron et al. 2021 (DeiT), arXiv:2012.12877, section 4, hard-label distillation.
    """
    assert seen.teacher is not None
    return functional.cross_entropy(seen.student, seen.teacher.argmax(1))
