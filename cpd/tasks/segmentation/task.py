"""A segmentation task over two sets of scenes: one to train on, one held out and judged at its full size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpd.errors import DataError
from cpd.tasks.order import Shuffled
from cpd.tasks.segmentation.masks import IGNORE
from cpd.tasks.segmentation.scenes import Scenes
from cpd.tasks.segmentation.windows import fitted, whole_image
from cpd.tasks.task import Batch

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True, eq=False)
class SegmentationTask(Shuffled):
    """See `cpd.tasks.task.Task`. Targets are masks (B, H, W) int64; pixels of 255 count for nothing."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train: Scenes
    val: Scenes
    metric_name: str = "miou"

    @property
    def train_images(self) -> int:
        return len(self.train.sizes)

    @property
    def val_images(self) -> int:
        return len(self.val.sizes)

    def shown(self, order: list[Tensor], draws: list[Tensor | None]) -> Iterator[Batch]:
        return self.train.ahead(order, draws, whole=False)

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        order = alike(self.val.sizes, batch_size, self.shape[1] * self.shape[2])
        return self.val.ahead(order, [None] * len(order), whole=True)

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        return whole_image(module, images, (self.shape[1], self.shape[2]))

    def check(self, outputs: Tensor) -> None:
        maps = isinstance(outputs, Tensor) and outputs.ndim == 4
        if not maps or outputs.shape[1] != len(self.classes):
            gives = f"{outputs.shape[1]} scores a pixel" if maps else "no scores a pixel"
            raise DataError(
                f"{self.name} has {len(self.classes)} classes and the model gives {gives}: give a segmentation model "
                f"with --set num_classes={len(self.classes)}, with weights trained on them."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.check(outputs)
        scores = fitted(outputs, (targets.shape[1], targets.shape[2]))
        count = (targets != IGNORE).sum().clamp_min(1)  # a crop that is ignored whole has no mean
        return F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="sum") / count

    def metric(self) -> Metric:
        import cpd._torchvision  # noqa: F401  before torchmetrics, which imports torchvision

        from torchmetrics.classification import MulticlassJaccardIndex

        # Over all pixels of all images together, as ADE20K, Cityscapes and VOC count it; classes that neither occur nor
        # are predicted are left out of the mean.
        return MulticlassJaccardIndex(num_classes=len(self.classes), ignore_index=IGNORE, validate_args=False)

    def per_class(self, metric: Metric) -> dict[str, float]:
        table: Tensor = metric.confmat.double()  # type: ignore[operator,union-attr]
        both = table.diag()
        either = table.sum(0) + table.sum(1) - both
        return {name: float(b / e) for name, b, e in zip(self.classes, both, either, strict=True) if e > 0}


def alike(sizes: Sequence[tuple[int, int]], batch_size: int, pixels: int) -> list[Tensor]:
    """Runs of neighbouring scenes of one size, each of at most `batch_size` images of `pixels` pixels."""
    groups: list[list[int]] = []
    last = None
    for number, size in enumerate(sizes):
        most = max(1, batch_size * pixels // (size[0] * size[1])) if size[0] * size[1] > pixels else batch_size
        if size != last or len(groups[-1]) >= most:
            groups.append([])
        groups[-1].append(number)
        last = size
    return [torch.tensor(group) for group in groups]
