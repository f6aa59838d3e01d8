"""Random changes to an image together with its mask, by torchvision's transforms on its image and mask types.

All of them are functions of numbers that were drawn before, so that threads may apply them in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cpd._torchvision  # noqa: F401  before torchvision

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from cpd.tasks.segmentation.masks import IGNORE


@dataclass(frozen=True)
class Moves:
    """How far training images may be changed.

    Attributes:
        flip: whether half of them are mirrored.
        scale: least and largest zoom.
        turn: largest rotation either way, degrees.
        light: largest change of brightness, contrast and saturation, as a share.
    """

    flip: bool = True
    scale: tuple[float, float] = (0.5, 2.0)
    turn: float = 0.0
    light: float = 0.4


def moved(
    image: Tensor, mask: Tensor, size: tuple[int, int], moves: Moves, draw: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """A part of image (C, h, w) and mask (h, w), both uint8, at `size`: the middle one where there is no draw.

    Zoom and crop as in the usual recipe of ADE20K and Cityscapes (Chen et al. 2017, arXiv:1706.05587, section 4.1);
    the part always lies inside the image, so nothing needs to be padded. A rotation leaves corners, which are ignored.
    """
    picture, labels = tv_tensors.Image(image), tv_tensors.Mask(mask.unsqueeze(0))
    height, width = mask.shape
    low, high = moves.scale
    zoom = 1.0 if draw is None else low * (high / low) ** draw[0]
    # A zoom below 1 shows more than the model's size, as far as there is more.
    part = min(1 / zoom, height / size[0], width / size[1])
    crop = max(1, round(size[0] * part)), max(1, round(size[1] * part))
    top, left = (
        round((whole - own) * (draw[1 + i] if draw else 0.5))
        for i, (whole, own) in enumerate(zip((height, width), crop, strict=True))
    )
    if draw is not None and moves.turn:
        angle = (2 * draw[3] - 1) * moves.turn
        fill = image.float().mean((1, 2)).tolist()
        picture = tv.rotate(picture, angle, InterpolationMode.BILINEAR, fill=fill)
        labels = tv.rotate(labels, angle, fill=IGNORE)
    box = (top, left, *crop)
    if box != (0, 0, *size) or (height, width) != tuple(size):
        picture = tv.resized_crop(picture, *box, list(size), InterpolationMode.BILINEAR, antialias=True)
        labels = tv.resized_crop(labels, *box, list(size))  # a mask is never mixed: the nearest pixel
    if draw is not None:
        if moves.flip and draw[4] < 0.5:
            picture, labels = tv.horizontal_flip(picture), tv.horizontal_flip(labels)
        if moves.light:
            factors = [1 + (2 * d - 1) * moves.light for d in draw[5:8]]
            picture = tv.adjust_contrast(tv.adjust_brightness(picture, factors[0]), factors[1])
            if len(picture) == 3:
                picture = tv.adjust_saturation(picture, factors[2])
    return picture.as_subclass(torch.Tensor), labels.as_subclass(torch.Tensor)[0]
