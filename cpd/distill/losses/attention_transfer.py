"""Where the teacher's activations are strong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cpd.distill.losses.term import Seen


def attention_transfer(seen: Seen) -> Tensor:
    """Half the distance between the attention maps of student and teacher, summed over layers, mean over images.

    A layer's attention map is the sum of its squared activations over the channels, at every position, brought to
    length 1. Each network sums over all of its own channels; the positions are the same in both.
    Source: Zagoruyko, Komodakis 2017, arXiv:1612.03928, equation 2 with F_sum^2 and p = 2, without its factor beta,
    which is this loss's weight.
    """
    terms = [
        torch.linalg.vector_norm(attention(pair.student, pair.axis) - attention(pair.whole, pair.axis), dim=1).mean()
        / 2
        for pair in seen.pairs
    ]
    return torch.stack(terms).sum() if terms else seen.student.new_zeros(())


def attention(activations: Tensor, axis: int) -> Tensor:
    """(B, positions), every row of length 1, of activations (B, ...) with the channels along `axis`."""
    return functional.normalize(activations.square().sum(axis).flatten(1), dim=1)
