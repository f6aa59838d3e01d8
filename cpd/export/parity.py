"""Whether a handed-over file gives the pruned model's answers, and how fast it does: on real images, from the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cpd.export.result import QUALITY_TOLERANCE, TOLERANCE
from cpd.measure.latency import latencies
from cpd.measure.measurement import Latency
from cpd.tasks.task import Task

BATCH = 32


@dataclass
class Comparison:
    """Running comparison of one form's outputs with the reference's.

    Attributes:
        difference, scale: largest absolute difference, and largest absolute output of the reference.
        same, answers: answers that agree, and how many there were.
        quality: the metric over all batches, None without data.
        failure: why the form could not be run, in its own words.
    """

    difference: float = 0.0
    scale: float = 0.0
    same: int = 0
    answers: int = 0
    quality: float | None = None
    failure: str = ""

    def add(self, found: list[Tensor], expected: list[Tensor]) -> None:
        if [x.shape for x in found] != [x.shape for x in expected]:
            self.failure = (
                f"gives {[tuple(x.shape) for x in found]}, the pruned model {[tuple(x.shape) for x in expected]}"
            )
            return
        for got, wanted in zip(found, expected, strict=True):
            gap = (got - wanted).abs().max()
            # A NaN must not pass for a small difference.
            self.difference = max(self.difference, float(gap) if bool(gap.isfinite()) else math.inf)
            self.scale = max(self.scale, float(wanted.abs().max()))
        first, wanted = found[0], expected[0]
        if first.ndim >= 2 and first.shape[1] > 1:
            self.same += int((first.argmax(1) == wanted.argmax(1)).sum())
            self.answers += first.argmax(1).numel()

    @property
    def agree(self) -> float | None:
        return self.same / self.answers if self.answers else None

    def verdict(self, reference: float | None) -> str:
        """ "" when the form holds, else why it does not."""
        if self.failure:
            return self.failure
        if self.difference > TOLERANCE * self.scale:
            return f"outputs differ by {self.difference:.2g} where the largest is {self.scale:.3g}"
        if reference is not None and self.quality is not None and abs(self.quality - reference) > QUALITY_TOLERANCE:
            return f"the metric is {self.quality:.4f}, that of the pruned model {reference:.4f}"
        return ""


@dataclass
class Compared:
    """The reference's own metric, how many images were used, and one comparison a form."""

    quality: float | None
    images: int
    forms: dict[str, Comparison] = field(default_factory=dict)


def compare(
    reference: nn.Module,
    forms: Mapping[str, nn.Module],
    inputs: tuple[Tensor, ...],
    task: Task | None,
    most: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Run every form and the reference on the same batches.

    Args:
        task: gives the first `most` held-out images and the metric; without it the inputs are random numbers shaped
            like `inputs`, in batches of 3 and of 1, since a file must take any batch size.
    """
    result = Compared(None, 0, {name: Comparison() for name in forms})
    modules = {"": reference, **forms}
    metrics = {name: task.metric() for name in modules} if task else {}
    total = min(most, task.val_images) if task else 2
    with torch.inference_mode():
        for batch, targets in _batches(inputs, task, most):
            expected: list[Tensor] = []
            for name, module in modules.items():
                comparison = result.forms.get(name)
                if comparison is not None and comparison.failure:
                    continue
                try:
                    outputs = task.predict(module, batch[0]) if task else module(*batch)
                except Exception as error:  # what a foreign runtime raises is its own affair; here it is a finding
                    if comparison is None:
                        raise
                    comparison.failure = f"does not run ({str(error).strip().splitlines()[0][:200]})"
                    continue
                flat = [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
                if comparison is None:
                    expected = flat
                else:
                    comparison.add(flat, expected)
                if task and targets is not None:
                    metrics[name].update(outputs, targets)
            result.images += len(batch[0])
            if progress:
                progress(result.images, total)
    if task:
        result.quality = float(metrics[""].compute())
        for name, comparison in result.forms.items():
            comparison.quality = None if comparison.failure else float(metrics[name].compute())
    return result


def _batches(
    inputs: tuple[Tensor, ...], task: Task | None, most: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
    if task is None:
        generator = torch.Generator().manual_seed(0)
        for size in (3, 1):
            yield tuple(_random_like(x, size, generator) for x in inputs), None
        return
    seen = 0
    for images, targets in task.val_batches(BATCH):
        yield (images[: most - seen],), targets[: most - seen]
        seen += len(images)
        if seen >= most:
            return


def _random_like(x: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x[:1].repeat(batch, *[1] * (x.ndim - 1))
    return torch.randn((batch, *x.shape[1:]), generator=generator, dtype=x.dtype)


def time_forms(
    modules: Mapping[str, nn.Module], inputs: tuple[Tensor, ...], batches: Sequence[int], seconds: float
) -> dict[str, tuple[Latency, ...]]:
    """Latency of every module at every batch size, one pass of each in turn."""
    timed: dict[str, list[Latency]] = {name: [] for name in modules}
    for batch in batches:
        for name, row in latencies(modules, inputs, batch, seconds=seconds).items():
            timed[name].append(row)
    return {name: tuple(rows) for name, rows in timed.items()}
