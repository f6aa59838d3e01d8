"""Outputs for images that are larger than what the model takes: overlapping windows, averaged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OVERLAP = 1 / 3  # of a window with the next


def whole_image(module: nn.Module, images: Tensor, window: tuple[int, int]) -> Tensor:
    """Class scores (B, classes, H, W) for images (B, C, H, W) of any size.

    Images that are smaller than the window are enlarged until it fits, and their scores brought back. Scores of
    overlapping windows are averaged (Chen et al. 2017, arXiv:1706.05587, and the tools built on it).
    """
    size = images.shape[2:]
    if tuple(size) == window:
        return fitted(module(images), window)
    grow = max(1.0, *(own / whole for own, whole in zip(window, size, strict=True)))
    if grow > 1:
        larger = [max(own, round(whole * grow)) for own, whole in zip(window, size, strict=True)]
        images = F.interpolate(images, size=larger, mode="bilinear", align_corners=False)
    total, seen = None, images.new_zeros(1, 1, *images.shape[2:])
    for top in starts(images.shape[2], window[0]):
        for left in starts(images.shape[3], window[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            scores = fitted(module(images[place].contiguous()), window)
            if total is None:
                total = scores.new_zeros(*scores.shape[:2], *images.shape[2:])
            total[place] += scores
            seen[place] += 1
    assert total is not None
    return fitted(total / seen, (int(size[0]), int(size[1])))


def starts(length: int, window: int) -> list[int]:
    """Where windows begin so that they cover `length`, spread evenly and overlapping by a third or more."""
    if length <= window:
        return [0]
    count = -(-(length - window) // max(1, int(window * (1 - _OVERLAP)))) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def fitted(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores at the size of the mask, for models that answer at a coarser one."""
    same = not isinstance(scores, torch.Tensor) or scores.ndim != 4 or tuple(scores.shape[2:]) == size
    return scores if same else F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
