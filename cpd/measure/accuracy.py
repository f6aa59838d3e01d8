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

    Where several processes share a run, each takes every so-manieth batch: torchmetrics adds up over all of them.

    Raises:
        DataError: the model does not give one score for each class of the data.
    """
    device = device or torch.device("cpu")
    metric = task.metric().to(device)
    rank, world = _share()
    done = 0
    with torch.inference_mode(), evaluating(module):
        for number, (images, targets) in enumerate(task.val_batches(batch_size)):
            if number % world != rank:
                continue
            outputs = task.predict(module, images.to(device))
            task.check(outputs)
            metric.update(outputs, targets.to(device))
            done += len(targets)
            if progress:
                progress(done, task.val_images)
    return Quality(float(metric.compute()), task.per_class(metric))


def _share() -> tuple[int, int]:
    """This process's number and how many share the run."""
    group = torch.distributed
    return (group.get_rank(), group.get_world_size()) if group.is_available() and group.is_initialized() else (0, 1)


def accuracy(
    module: nn.Module,
    task: Task,
    device: torch.device | None = None,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """`quality`, the metric alone."""
    return quality(module, task, device, batch_size, progress).value
