"""How many of an axis's equal runs are left: groups of channels, repetitions of a value."""

from __future__ import annotations

import numpy as np

from cpd.comb.labels import IntArray
from cpd.comb.rules.registry import Cutting, Size


def runs_left(cut: Cutting, label: IntArray, count: int) -> Size:
    """Of `count` runs of equal length those that still have a living position; follows the batch where they count samples.

    A kernel for every sample, say, is a convolution with as many groups as the batch has samples.
    """
    rows = label.reshape(count, -1)
    living = cut.alive(label).reshape(count, -1).argmax(1)
    return cut.size(rows[np.arange(count), living], count)
