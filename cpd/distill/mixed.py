"""Mixup and label smoothing, as timm does them: a batch's images and labels, on their way into a step."""

from __future__ import annotations

import cpd._torchvision  # noqa: F401  before timm, which imports torchvision

from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from cpd.distill.settings import TrainSettings
from cpd.errors import RunError


class Mixed:
    """What mixup draws comes from numpy's generator, whose state is part of every checkpoint."""

    def __init__(self, settings: TrainSettings, classes: int) -> None:
        self.classes, self.smoothing = classes, settings.smoothing
        self.mixup = None
        if settings.mixup and settings.augment:
            self.mixup = Mixup(settings.mixup, label_smoothing=settings.smoothing, num_classes=classes)

    @staticmethod
    def wanted(settings: TrainSettings) -> bool:
        return bool(settings.smoothing or (settings.mixup and settings.augment))

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, ...) and labels (B,) -> images and (B, classes) shares of each class.

        Raises:
            RunError: labels that are not one an image.
        """
        if targets.ndim != 1:
            raise RunError(
                "mixup and smoothing are for one label an image, and this data has one a pixel; set them to 0."
            )
        if self.mixup is None:
            return images, mixup_target(targets, self.classes, smoothing=self.smoothing)
        mixed: tuple[Tensor, Tensor] = self.mixup(images.clone(), targets)  # it mixes in place
        return mixed
