"""The teacher's activations on the channels that the student still has."""

from __future__ import annotations

import torch
from torch import Tensor

from cpd.distill.losses.term import Seen


def features(seen: Seen) -> Tensor:
    """Mean squared difference of activations, per layer in units of the teacher's variance, mean over layers.

    The student's channels are a subset of the teacher's, so they are compared directly.
    Source: Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3, without the regressor that unequal channels need.
    """
    terms = []
    for pair in seen.pairs:
        spread = pair.teacher.var(unbiased=False).clamp_min(1e-6)
        terms.append((pair.student - pair.teacher).square().mean() / spread)
    return torch.stack(terms).mean() if terms else seen.student.new_zeros(())
