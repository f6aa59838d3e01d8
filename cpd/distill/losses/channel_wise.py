"""Where in the image each class is, according to the teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cpd.distill.losses.term import Seen
from cpd.errors import RunError


def channel_wise(seen: Seen) -> Tensor:
    """T^2 / C * sum over channels of KL(teacher || student), each channel's scores softened into a distribution over
    the pixels; mean over images. The channels are the class scores, so both networks have the same.

    Source: Shu et al. 2021 (CWD), arXiv:2011.13256, equations 4 and 5.

    Raises:
        RunError: the network gives no score a pixel.
    """
    assert seen.teacher is not None
    if seen.student.ndim != 4:
        raise RunError("the channel_wise loss compares scores a pixel, and this model gives none; set its weight to 0.")
    t = seen.temperature
    student = functional.log_softmax(seen.student.flatten(2) / t, dim=2)
    teacher = functional.log_softmax(seen.teacher.flatten(2) / t, dim=2)
    divergence = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(2)
    return divergence.mean() * (t * t)
