"""Which held-out images are worth a look: first those whose answer changed, then some of every class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cpd.attribution.scores import raw_scores
from cpd.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Looked:
    """What the networks answer over the first held-out images.

    Attributes:
        labels: (N,) the right class; -1 of a segmentation.
        answers: (N,) the dense model's class; of a segmentation its most common one.
        changed: (N,) how much the other network's answer differs, 0..1: 0 or 1, or the share of pixels.
    """

    labels: Tensor
    answers: Tensor
    changed: Tensor

    @property
    def count(self) -> int:
        """Images with another answer: another class, or over a hundredth of the pixels."""
        return int((self.changed > 0.01).sum())


def look(
    dense: nn.Module,
    other: nn.Module | None,
    task: Task,
    most: int,
    progress: Callable[[int, int], None],
    batch_size: int = 32,
) -> Looked:
    """Compare two networks, in eval mode, over the first `most` held-out images."""
    device = next(dense.parameters()).device
    labels, answers, changed = [], [], []
    done, total = 0, min(most, task.val_images)
    with torch.inference_mode():
        for images, targets in task.val_batches(min(batch_size, total)):
            images = images[: total - done].to(device)
            first = raw_scores(dense, images).argmax(1)
            second = first if other is None else raw_scores(other, images).argmax(1)
            changed.append((first != second).float().reshape(len(images), -1).mean(1).cpu())
            answers.append(first.reshape(len(images), -1).mode(1).values.cpu())
            known = targets[: len(images)] if targets.ndim == 1 else torch.full((len(images),), -1)
            labels.append(known.cpu())
            done += len(images)
            progress(done, total)
            if done >= total:
                break
    return Looked(torch.cat(labels), torch.cat(answers), torch.cat(changed))


def choose(looked: Looked, count: int, wanted: Sequence[int] = ()) -> list[int]:
    """Numbers of `count` images: those asked for, then the most changed (up to half of what is left), then the classes
    in turn, so that every kind of image is there."""
    chosen = [number for number in dict.fromkeys(wanted) if 0 <= number < len(looked.labels)]
    count = max(count, len(chosen))
    most = torch.argsort(looked.changed, descending=True, stable=True).tolist()
    half = len(chosen) + (count - len(chosen)) // 2
    chosen += [number for number in most if looked.changed[number] > 0 and number not in chosen][: half - len(chosen)]
    kinds = looked.labels if int(looked.labels.max()) >= 0 else looked.answers
    queues: dict[int, list[int]] = {}
    for number, kind in enumerate(kinds.tolist()):
        if number not in chosen:
            queues.setdefault(kind, []).append(number)
    rows = [queues[kind] for kind in sorted(queues)]
    depth = 0
    while len(chosen) < count and any(depth < len(row) for row in rows):
        chosen += [row[depth] for row in rows if depth < len(row)][: count - len(chosen)]
        depth += 1
    return chosen


def fetch(task: Task, numbers: Sequence[int], batch_size: int = 32) -> dict[int, tuple[Tensor, Tensor]]:
    """Image (1, C, H, W) and target of each number; reads the held-out images up to the last of them."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    first, last = 0, max(numbers, default=-1)
    for images, targets in task.val_batches(batch_size) if numbers else ():
        for number in numbers:
            if first <= number < first + len(images):
                found[number] = (images[number - first : number - first + 1], targets[number - first])
        first += len(images)
        if first > last:
            break
    return {number: found[number] for number in numbers if number in found}
