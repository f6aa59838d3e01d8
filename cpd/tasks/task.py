"""What the trainer, the scores and the measurements ask of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

if TYPE_CHECKING:
    from torchmetrics import Metric

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) float32, normalised for the model, and targets; both on the CPU."""


@runtime_checkable
class Numbered(Protocol):
    """A task that can tell which training images it shows; what is learned of one can then be kept. Optional."""

    def train_numbers(
        self, batch_size: int, seed: int = 0, epoch: int = 0, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Tensor]:
        """Of every batch that `train_batches` gives for these arguments, the numbers of its images, (B,) int64."""
        ...

    def train_unchanged(self, batch_size: int) -> Iterator[Tensor]:
        """Every training image once, in the order of the numbers, as `train_batches` gives it without augmentation."""
        ...


class Task(Protocol):
    """Data, metric and loss of one job.

    Attributes:
        name: as the user wrote it, e.g. "digits".
        classes: names of the classes, in the order of the targets.
        shape: (channels, height, width) of one image, as the model takes it.
        metric_name: what `metric()` computes, as runs record it; cpd.measure.metrics has the words for it.
        train_images, val_images: how many there are. The held-out images are never trained on.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def metric_name(self) -> str: ...
    @property
    def train_images(self) -> int: ...
    @property
    def val_images(self) -> int: ...

    def steps(self, batch_size: int) -> int:
        """Batches of one epoch of `train_batches`, at least 1."""
        ...

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
        """Batches `start`, `start + 1`, ... of one epoch, shuffled and augmented, all of the same size.

        Every batch is a function of the arguments and its number alone, so a run that resumes in the middle of an
        epoch sees what it would have seen.

        Args:
            rank, world: of `world` processes the `rank`-th gets its own share of every batch.
        """
        ...

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        """Every held-out image once, in a fixed order, as it is."""
        ...

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        """Outputs for held-out images, at the size that `metric()` compares at; they may be larger than `shape`."""
        ...

    def check(self, outputs: Tensor) -> None:
        """Refuse a model that does not give one score for each class of the data.

        Raises:
            DataError: naming what it gives and what is needed.
        """
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar."""
        ...

    def metric(self) -> Metric:
        """A new metric; `update(outputs, targets)`, then `compute()` gives 0..1."""
        ...

    def per_class(self, metric: Metric) -> Mapping[str, float] | None:
        """What such a metric found for every class that occurs, by its name; None where it has no such values."""
        ...
