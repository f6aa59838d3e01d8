"""The task's metric over its held-out images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cpd.errors import DataError
from cpd.measure.latency import evaluating
from cpd.tasks.task import Task


def accuracy(
    module: nn.Module,
    task: Task,
    device: torch.device | None = None,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """The metric (0..1) of the model as it is, in eval mode, over all `task.val_images`.

    Raises:
        DataError: the model does not give one score for each class of the data.
    """
    device = device or torch.device("cpu")
    metric = task.metric().to(device)
    done = 0
    with torch.inference_mode(), evaluating(module):
        for images, targets in task.val_batches(batch_size):
            outputs = module(images.to(device))
            check_classes(outputs, task)
            metric.update(outputs, targets.to(device))
            done += len(targets)
            if progress:
                progress(done, task.val_images)
    return float(metric.compute())


def check_classes(outputs: torch.Tensor, task: Task) -> None:
    """Refuse a model whose outputs are not one score a class.

    Raises:
        DataError: naming both numbers.
    """
    classes = len(task.classes)
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or outputs.shape[1] != classes:
        gives = (
            f"{outputs.shape[1]} scores an image"
            if isinstance(outputs, torch.Tensor) and outputs.ndim == 2
            else "no row of scores an image"
        )
        raise DataError(
            f"{task.name} has {classes} classes and the model gives {gives}: --set num_classes={classes}, with weights trained on them."
        )
