"""Images with their masks as tensors, with every mistake in them named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cpd.errors import DataError
from cpd.tasks.segmentation.masks import BROKEN, Pairs, Renumber, check_numbers, check_size, read_mask


@dataclass(frozen=True)
class Reader:
    """Reads pair after pair.

    Attributes:
        classes: how many there are; a mask may hold no other numbers.
        channels: of the model's images.
    """

    pairs: Pairs
    classes: int
    channels: int
    renumber: Renumber | None = None

    def __call__(self, number: int) -> tuple[Tensor, Tensor]:
        """Image (C, h, w) and mask (h, w), both uint8.

        Raises:
            DataError: one of the files cannot be read, or they do not fit each other or the classes.
        """
        image_file, mask_file = self.pairs[number]
        image = read_image(image_file, self.channels)
        mask = read_mask(mask_file)
        check_size(mask_file, mask.shape, image.shape[1:])
        if self.renumber is not None:
            mask = self.renumber(mask)
        check_numbers(mask_file, mask, self.classes)
        return image, torch.from_numpy(mask.astype(np.uint8))


def read_image(file: Path, channels: int) -> Tensor:
    """(C, h, w) uint8. Raises DataError."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except BROKEN as error:
        raise DataError(f"{file}: cannot be read as an image ({str(error)[:120]}); remove it or mend it.") from error
    pixels = torch.from_numpy(np.array(image).reshape(image.height, image.width, -1)).permute(2, 0, 1).contiguous()
    return pixels if channels in (1, 3) else pixels[:1].expand(channels, -1, -1)
