"""Ask two models for their answers to every held-out image; `answers.py` has what comes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpd.measure.answers import Answers, Labelled, Mapped
from cpd.measure.latency import evaluating
from cpd.tasks.task import Task

_BATCH = 128
_PICTURES, _PICTURE_SIZE = 24, 96


def answers(
    dense: nn.Module,
    pruned: nn.Module,
    task: Task,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Both models' answers, where outputs are scores (B, C) or maps of scores (B, C, H, W)."""
    place = device or torch.device("cpu")
    models = {"dense": dense, "pruned": pruned}
    parts: dict[str, list[list[Tensor]]] = {name: [] for name in models}
    targets_of: list[Tensor] = []
    flipped: list[Tensor] = []
    count = len(task.classes)
    confusion = {name: torch.zeros(count, count, dtype=torch.int64) for name in models}
    keep = _Pictures()
    done = 0
    with torch.inference_mode(), evaluating(dense), evaluating(pruned):
        for images, targets in task.val_batches(_BATCH):
            guesses = {}
            for name, module in models.items():
                outputs = task.predict(module, images.to(place))
                task.check(outputs)
                scores = outputs.float().softmax(1).cpu()
                confidence, guesses[name] = scores.max(1)
                if targets.ndim == 1:
                    parts[name].append([guesses[name], confidence])
                else:
                    parts[name].append(list(_pixels(guesses[name], targets, count)))
                    confusion[name] += _confusion(guesses[name], targets, count)
            differ = (guesses["dense"] != guesses["pruned"]).float()
            if targets.ndim > 1:
                counted = (targets >= 0) & (targets < count)
                differ = (differ * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)
                targets_of.append(_counts(targets, counted, count))
            else:
                targets_of.append(targets)
            flipped.append(differ)
            keep.offer(images, differ, done)
            done += len(images)
            if progress:
                progress(done, task.val_images)
    joined = {name: [torch.cat(column).numpy() for column in zip(*rows, strict=True)] for name, rows in parts.items()}
    found: dict[str, Labelled | Mapped] = {}
    for name, columns in joined.items():
        if len(targets_of[0].shape) == 1:
            found[name] = Labelled(columns[0], columns[1].astype(np.float64))
        else:
            found[name] = Mapped(columns[0], columns[1], confusion[name].numpy())
    numbers, pictures = keep.best()
    return Answers(
        task.metric_name,
        task.classes,
        torch.cat(targets_of).numpy(),
        found["dense"],
        found["pruned"],
        torch.cat(flipped).double().numpy(),
        numbers,
        pictures,
    )


def _counts(labels: Tensor, counted: Tensor, count: int) -> Tensor:
    """(B, C) pixels of each label among those that are `counted`."""
    offset = torch.arange(len(labels)).view(-1, *[1] * (labels.ndim - 1)) * count
    flat = (labels + offset)[counted]
    return torch.bincount(flat, minlength=len(labels) * count).view(len(labels), count)


def _pixels(guess: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    counted = (targets >= 0) & (targets < count)
    return _counts(guess, counted & (guess == targets), count), _counts(guess, counted, count)


def _confusion(guess: Tensor, targets: Tensor, count: int) -> Tensor:
    counted = (targets >= 0) & (targets < count)
    return torch.bincount(targets[counted] * count + guess[counted], minlength=count**2).view(count, count)


class _Pictures:
    """Small copies of the images whose answers changed most."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, int, Tensor]] = []

    def offer(self, images: Tensor, differ: Tensor, first: int) -> None:
        for i in differ.argsort(descending=True, stable=True)[:_PICTURES].tolist():
            if differ[i] > 0:
                self._rows.append((-float(differ[i]), first + i, _picture(images[i])))
        self._rows = sorted(self._rows, key=lambda row: row[:2])[:_PICTURES]

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._rows:
            return np.zeros(0, np.int64), np.zeros((0, 1, 1, 3), np.uint8)
        size = self._rows[0][2].shape[1:]
        same = [row for row in self._rows if row[2].shape[1:] == size]
        return np.array([row[1] for row in same]), torch.stack([row[2] for row in same]).permute(0, 2, 3, 1).numpy()


def _picture(image: Tensor) -> Tensor:
    """(3, h, w) uint8: normalisation undone as far as a viewer needs it, by stretching to the full range."""
    low, high = image.min(), image.max()
    grey = (image - low) / (high - low).clamp_min(1e-6)
    colour = grey[:3] if len(grey) >= 3 else grey[:1].expand(3, -1, -1)
    scale = _PICTURE_SIZE / max(colour.shape[1:])
    small = F.interpolate(colour[None], scale_factor=scale, mode="nearest" if scale > 1 else "area")[0]
    return (small * 255).round().to(torch.uint8)
