"""A classification task over two sets of images: one to train on, one held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from cpd.errors import DataError
from cpd.tasks.order import epoch_order
from cpd.tasks.task import Batch

if TYPE_CHECKING:
    from torchmetrics import Metric

Augment = Callable[[Tensor, Generator], Tensor]


class Images(Protocol):
    """Labelled images that can be fetched in any order."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        ...

    def fetch(self, index: Tensor, generator: Generator | None) -> Tensor:
        """Images (B, C, H, W) float32, normalised; randomly changed where a generator is given."""
        ...

    def ahead(self, order: list[Tensor], generators: list[Generator | None]) -> Iterator[Tensor]:
        """`fetch` for one batch after another; sources that decode do so ahead of the caller."""
        ...


@dataclass(frozen=True, eq=False)
class ClassificationTask:
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

    def steps(self, batch_size: int) -> int:
        return max(1, self.train_images // batch_size)

    def train_batches(
        self,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        steps = self.steps(batch_size)
        order, generators = epoch_order(self.train_images, steps, batch_size, seed, epoch, start, augment, rank, world)
        for index, images in zip(order, self.train.ahead(order, generators), strict=True):
            yield images, self.train.labels[index]

    def train_numbers(
        self, batch_size: int, seed: int = 0, epoch: int = 0, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Tensor]:
        """See `cpd.tasks.task.Numbered`."""
        steps = self.steps(batch_size)
        return iter(epoch_order(self.train_images, steps, batch_size, seed, epoch, start, False, rank, world)[0])

    def train_unchanged(self, batch_size: int) -> Iterator[Tensor]:
        """See `cpd.tasks.task.Numbered`."""
        order = list(torch.arange(self.train_images).split(batch_size))
        return self.train.ahead(order, [None] * len(order))

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
