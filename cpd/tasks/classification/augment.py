"""Random changes to a batch of images, each a function of the image and of numbers in 0..1 that were drawn for it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_grid(
    draws: Tensor,
    height: int,
    width: int,
    degrees: float = 10.0,
    shift: float = 0.08,
    zoom: float = 0.1,
) -> Tensor:
    """(B, H, W, 2) sampling grid of a small random rotation, shift and zoom per image.

    Args:
        draws: (B, 4 or more) numbers in 0..1.
        degrees: largest rotation either way.
        shift: largest shift as a share of the image's size.
        zoom: largest change of scale, 0.1 for 0.9..1.1.
    """
    draw = draws[:, :4] * 2 - 1
    angle = draw[:, 0] * math.radians(degrees)
    scale = 1 + draw[:, 1] * zoom
    offset = draw[:, 2:] * shift * 2  # the grid runs from -1 to 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin, offset[:, 0]], 1), torch.stack([sin, cos, offset[:, 1]], 1)], 1)
    return F.affine_grid(theta, [len(draws), 1, height, width], align_corners=False)


def flip_and_shift(images: Tensor, draws: Tensor, share: float = 1 / 8) -> Tensor:
    """Mirror half of the images and shift each by up to `share` of its size, borders reflected.

    Args:
        draws: (B, 3 or more) numbers in 0..1.
    Source: the usual CIFAR augmentation (Lee et al. 2015, arXiv:1409.5185: pad 4 of 32 pixels, crop, flip).
    """
    batch, _, height, width = images.shape
    flip = draws[:, 0] < 0.5
    images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
    pad = (max(1, int(height * share)), max(1, int(width * share)))
    if pad[0] >= height or pad[1] >= width:
        return images
    padded = F.pad(images, (pad[1], pad[1], pad[0], pad[0]), mode="reflect")
    top, left = ((draws[:, 1 + i] * (2 * pad[i] + 1)).long().clamp_max(2 * pad[i]) for i in range(2))
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, None, :]
    return padded[
        torch.arange(batch)[:, None, None, None], torch.arange(images.shape[1])[None, :, None, None], rows, columns
    ]
