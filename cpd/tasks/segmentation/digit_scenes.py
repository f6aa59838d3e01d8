"""The built-in scenes: scikit-learn's real handwritten digits, laid in colour on textured ground, with a mask a pixel.

A scene is a function of its number alone. Digits that were held out by the digits task appear in held-out scenes only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from cpd.errors import DataError
from cpd.tasks.classification.normalise import normalisation
from cpd.tasks.classification.split import stratified
from cpd.tasks.order import generator
from cpd.tasks.segmentation.scenes import MemoryScenes, Moves
from cpd.tasks.segmentation.task import SegmentationTask

NAME = "digit-scenes"
CLASSES = ("ground", *(str(d) for d in range(10)))
TRAIN, HELD_OUT = 1200, 300  # scenes
_SEED = 20240804
_CELLS = ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))  # centres, of a scene that reaches from -1 to 1
_FILLED = 0.65  # of the cells hold a digit
_SIZE = (0.44, 0.62)  # height of a digit's 8x8 field as a share of the scene
_TURN = math.radians(15)
_SHIFT = 0.1
_INK = 0.42  # of full ink: from here on a pixel is of the digit
_EDGE = 0.12  # of full ink, over which its colour fades
_CONTRAST = (0.15, 0.65)  # by how much a digit is brighter than its ground, of full brightness
_TEXTURE = ((2, 0.16), (5, 0.12), (11, 0.1), (23, 0.06))  # patches along a side, and their greatest deviation
_PART = 100  # scenes painted at a time
# A mirrored digit is none, and a larger part would have to be made up.
MOVES = Moves(flip=False, scale=(1.0, 1.15), turn=8.0, light=0.25)


def digit_scenes(shape: tuple[int, int, int], spec: str = "", train: int = 0, held_out: int = 0) -> SegmentationTask:
    """The scenes at the model's input shape; 1,500 of 64x64 take about two seconds.

    Args:
        train, held_out: how many scenes, 0 for the usual number.

    Raises:
        DataError: scenes would be too small to tell digits apart.
    """
    if min(shape[1:]) < 32:
        raise DataError(
            f"{NAME}: needs images of 32x32 or more, and the model takes {shape[1]}x{shape[2]}; --set img_size=64."
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(f"{NAME}: scikit-learn is not installed; install requirements.txt.") from error
    data = load_digits()
    ink = torch.from_numpy(data.images).float().unsqueeze(1) / 16.0
    labels = torch.from_numpy(data.target).long()
    norm = normalisation(spec, shape[0])
    scenes = []
    for part, (digits, count) in enumerate(
        zip(stratified(labels, 0.25), (train or TRAIN, held_out or HELD_OUT), strict=True)
    ):
        painted = [
            paint(ink[digits], labels[digits], min(_PART, count - first), shape, generator(_SEED, part, first))
            for first in range(0, count, _PART)
        ]
        images, masks = (list(torch.cat(each)) for each in zip(*painted, strict=True))
        scenes.append(MemoryScenes(images, masks, (shape[1], shape[2]), norm, MOVES))
    return SegmentationTask(NAME, CLASSES, shape, train=scenes[0], val=scenes[1])


def paint(
    ink: Tensor, labels: Tensor, count: int, shape: tuple[int, int, int], dice: Generator
) -> tuple[Tensor, Tensor]:
    """`count` scenes: images (count, C, H, W) uint8 and masks (count, H, W) uint8, 0 for ground and 1 + digit.

    Args:
        ink: (N, 1, 8, 8) digits to choose from, 0..1.
        labels: (N,) which digit each is.
    """
    channels, height, width = shape
    ground, colour = _ground(count, channels, height, width, dice)
    masks = torch.zeros(count, height, width, dtype=torch.uint8)
    filled = torch.rand(count, len(_CELLS), generator=dice) < _FILLED
    filled[torch.arange(count), torch.randint(len(_CELLS), (count,), generator=dice)] = True  # one at the least
    for cell, centre in enumerate(_CELLS):
        chosen = torch.randint(len(ink), (count,), generator=dice)
        layer = _laid(ink[chosen], torch.tensor(centre), height, width, dice)
        layer = layer * filled[:, cell].view(-1, 1, 1, 1)
        paintwork = _colours(colour, dice) * (0.9 + 0.2 * torch.rand(count, 1, height, width, generator=dice))
        cover = ((layer - _INK) / _EDGE + 0.5).clamp(0, 1)
        ground = torch.lerp(ground, paintwork.clamp(0, 1), cover)
        digit = (1 + labels[chosen]).to(torch.uint8).view(-1, 1, 1)
        masks = torch.where(layer[:, 0] >= _INK, digit, masks)
    grain = 0.03 * torch.randn(ground.shape, generator=dice)
    return ((ground + grain).clamp(0, 1) * 255).round().to(torch.uint8), masks


def _ground(count: int, channels: int, height: int, width: int, dice: Generator) -> tuple[Tensor, Tensor]:
    """Texture of several scales around a colour of its own; and that colour, (count, C, 1, 1)."""
    colour = 0.1 + 0.35 * torch.rand(count, channels, 1, 1, generator=dice)
    texture = torch.zeros(count, channels, height, width)
    for side, most in _TEXTURE:
        coarse = torch.randn(count, channels, side, side, generator=dice)
        strength = most * torch.rand(count, 1, 1, 1, generator=dice)
        texture += strength * F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return (colour + texture).clamp(0, 1), colour


def _colours(ground: Tensor, dice: Generator) -> Tensor:
    """(count, C, 1, 1) brighter than the ground, each channel by an amount of its own."""
    return ground + _CONTRAST[0] + (_CONTRAST[1] - _CONTRAST[0]) * torch.rand(ground.shape, generator=dice)


def _laid(digits: Tensor, centre: Tensor, height: int, width: int, dice: Generator) -> Tensor:
    """(count, 1, H, W): each digit's ink, turned and scaled, around `centre` (y, x)."""
    draw = torch.rand(len(digits), 4, generator=dice)
    size = _SIZE[0] + (_SIZE[1] - _SIZE[0]) * draw[:, 0]
    angle = (draw[:, 1] * 2 - 1) * _TURN
    at = centre + (draw[:, 2:] * 2 - 1) * _SHIFT
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    y, x = at[:, 0], at[:, 1]
    rows = torch.stack([cos, -sin, -(cos * x - sin * y)], 1), torch.stack([sin, cos, -(sin * x + cos * y)], 1)
    grid = F.affine_grid(torch.stack(rows, 1), [len(digits), 1, height, width], align_corners=False)
    # Twice the size first, smoothly: strokes read straight from 8x8 have corners.
    smooth = F.interpolate(F.pad(digits, (1, 1, 1, 1)), scale_factor=4, mode="bicubic", align_corners=False)
    return F.grid_sample(smooth, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
