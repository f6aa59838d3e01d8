"""The task's metric over its held-out images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from cpd.measure.latency import evaluating
from cpd.tasks.task import Task


@dataclass(frozen=True)
class Quality:
    """The metric (0..1) on all held-out images, and of every class where the metric has such values."""

    value: float
    classes: Mapping[str, float] | None


def quality(
    module: nn.Module,
    task: Task,
    device: torch.device | None = None,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """The metric of the model as it is, in eval mode, over all `task.val_images`.

    Raises:
        DataError: the model does not give one score for each class of the data.
    """
    device = device or torch.device("cpu")
    metric = task.metric().to(device)
    done = 0
    with torch.inference_mode(), evaluating(module):
        for images, targets in task.val_batches(batch_size):
            outputs = task.predict(module, images.to(device))
            task.check(outputs)
            metric.update(outputs, targets.to(device))
            done += len(targets)
            if progress:
                progress(done, task.val_images)
    return Quality(float(metric.compute()), task.per_class(metric))


def accuracy(
    module: nn.Module,
    task: Task,
    device: torch.device | None = None,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """`quality`, the metric alone."""
    return quality(module, task, device, batch_size, progress).value
