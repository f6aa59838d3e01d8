"""A classification task over two sets of images: one to train on, one held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpd.errors import DataError
from cpd.tasks.order import Shuffled
from cpd.tasks.task import Batch

if TYPE_CHECKING:
    from torchmetrics import Metric


class Images(Protocol):
    """Labelled images that can be fetched in any order."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        ...

    def fetch(self, index: Tensor, draws: Tensor | None) -> Tensor:
        """Images (B, C, H, W) float32, normalised; changed by (B, cpd.tasks.order.DRAWS) numbers in 0..1, where given."""
        ...

    def ahead(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Tensor]:
        """`fetch` for one batch after another; sources that decode do so ahead of the caller."""
        ...


@dataclass(frozen=True, eq=False)
class ClassificationTask(Shuffled):
    """See `cpd.tasks.task.Task`."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: Images
    val: Images
    metric_name: str = "top1"

    @property
    def train_images(self) -> int:
        return len(self.train.labels)

    @property
    def val_images(self) -> int:
        return len(self.val.labels)

    def shown(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Batch]:
        for index, images in zip(order, self.train.ahead(order, draws), strict=True):
            yield images, self.train.labels[index]

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        order = list(torch.arange(self.val_images).split(batch_size))
        for index, images in zip(order, self.val.ahead(order, [None] * len(order)), strict=True):
            yield images, self.val.labels[index]

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        outputs: Tensor = module(images)
        return outputs

    def check(self, outputs: Tensor) -> None:
        rows = isinstance(outputs, Tensor) and outputs.ndim == 2
        if not rows or outputs.shape[1] != len(self.classes):
            gives = f"{outputs.shape[1]} scores an image" if rows else "no row of scores an image"
            raise DataError(
                f"{self.name} has {len(self.classes)} classes and the model gives {gives}: "
                f"--set num_classes={len(self.classes)}, with weights trained on them."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def metric(self) -> Metric:
        import cpd._torchvision  # noqa: F401  before torchmetrics, which imports torchvision

        from torchmetrics.classification import MulticlassAccuracy

        return MulticlassAccuracy(num_classes=len(self.classes), average="micro")

    def per_class(self, metric: Metric) -> None:
        return None
