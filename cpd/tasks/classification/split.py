"""A held-out set where the data brings none."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stratified(labels: Tensor, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices to train on and to hold out, each class divided alike, the same for the same labels and seed.

    Args:
        labels: (N,) int64.
        share: of every class that is held out, rounded up; a class of one image is trained on.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels.numpy()[order]
    held = np.zeros(len(labels), bool)
    for label in np.unique(shuffled):
        members = order[shuffled == label]
        held[members[: min(int(np.ceil(len(members) * share)), len(members) - 1)]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
