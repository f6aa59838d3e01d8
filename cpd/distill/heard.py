"""What a student answers while its metric is measured: a class for each image, or the maps of a sample of the images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cpd.measure.history import sample
from cpd.measure.latency import evaluating
from cpd.measure.map_history import sample_size
from cpd.tasks.task import Batch, Task

IGNORED = 255  # in a map that is kept: this pixel does not count
_BATCH = 128  # as `cpd.measure.accuracy.quality` asks


class Heard:
    """A task that notes what each held-out image was given; passes on everything else.

    Attributes:
        classes: of the images, batch by batch.
        maps: number of an image -> (h, w) uint8, for those of the sample.
        wanted: numbers of the sample.
        images: how many were answered.
        made: the last metric that was asked for.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.classes: list[Tensor] = []
        self.maps: dict[int, Tensor] = {}
        self.wanted: frozenset[int] = frozenset()
        self.images = 0
        self.made: Any = None
        self._first, self._targets = 0, torch.empty(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def metric(self) -> Any:
        self.made = self.task.metric()
        return self.made

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        done = 0
        for images, targets in self.task.val_batches(batch_size):
            if not done and targets.ndim == 3:
                pixels = targets.shape[1] * targets.shape[2]
                self.wanted = frozenset(sample(self.task.val_images, sample_size(pixels)).tolist())
            self._first, self._targets = done, targets
            done += len(targets)
            yield images, targets

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        outputs = self.task.predict(module, images)
        self.images += len(images)
        if outputs.ndim == 2:
            self.classes.append(outputs.argmax(1))
        for place in self._places() if outputs.ndim == 4 else ():
            targets = self._targets[place].to(outputs.device)
            counted = (targets >= 0) & (targets < outputs.shape[1])
            self.maps[self._first + place] = outputs[place].argmax(0).masked_fill(~counted, IGNORED).to(torch.uint8)
        return outputs

    def _places(self) -> list[int]:
        """Where in the batch at hand images of the sample are."""
        return [place for place in range(len(self._targets)) if self._first + place in self.wanted]

    @property
    def is_whole(self) -> bool:
        """Whether all images were answered with maps: other processes may have heard a part of them."""
        return bool(self.wanted) and len(self.maps) == len(self.wanted) and self.images == self.task.val_images

    @torch.inference_mode()
    def listen(self, module: nn.Module, device: torch.device) -> None:
        """Hear the maps of the sample, and nothing else."""
        with evaluating(module):
            for images, _ in self.val_batches(_BATCH):
                if self._places():
                    self.predict(module, images.to(device))


def apart(heard: Heard, dense: dict[int, Tensor]) -> list[float]:
    """Share of the pixels that count that are other ones than in `dense`, of every image of the sample."""
    shares = []
    for number in sorted(heard.maps):
        mine, theirs = heard.maps[number], dense[number].to(heard.maps[number].device)
        shares.append(float((mine != theirs).sum()) / max(1, int((theirs != IGNORED).sum())))
    return shares
