"""The teacher's answers to training images that never change: asked for once, looked up afterwards."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cpd.distill.engine import Engine
from cpd.tasks.task import Numbered


class Cache:
    """What the teacher says to every training image as it is.

    The answers are a function of the data, the teacher and the batch size alone: asked for in the order of the images'
    numbers, before the first step and again after a resume. A resumed run therefore looks up, bit for bit, what the
    uninterrupted one did. Against asking in every step they differ in the last bits at most, because a product of
    matrices may round differently when an image stands elsewhere in its batch.

    Args:
        limit_bytes: largest table; where the answers need more, nothing is kept.
    """

    def __init__(self, task: Numbered, images: int, limit_bytes: int) -> None:
        self.task, self.images, self.limit_bytes = task, images, limit_bytes
        self.table: Tensor | None = None  # (images, ...) outputs, on the engine's device

    def fill(self, teacher: nn.Module, engine: Engine, batch_size: int, should_stop: Callable[[], bool]) -> bool:
        """Ask the teacher once for every image.

        Returns:
            False where it was told to stop on the way; the table is then not there.
        """
        table: Tensor | None = None
        done = 0
        for images in self.task.train_unchanged(batch_size):
            if engine.agree(should_stop()):
                return False
            with torch.no_grad(), engine.autocast():
                outputs: Tensor = teacher(engine.placed(images))
            if table is None:
                if self.images * outputs[0].numel() * outputs.element_size() > self.limit_bytes:
                    return True
                table = outputs.new_empty((self.images, *outputs.shape[1:]))
            table[done : done + len(outputs)] = outputs
            done += len(outputs)
        self.table = table if done == self.images else None
        return True

    def __call__(self, numbers: Tensor) -> Tensor:
        """The answers to images by number, in that order."""
        assert self.table is not None
        return self.table[numbers.to(self.table.device)]
