"""What a network's metric is, from as few images as say it well enough.

Two networks are compared on the same images, which is far sharper than comparing two shares: most images get the same
answer from both. With the dense network known on all N images and a cut one on n of them,

    value = dense on all N + (cut - dense) on n            (a difference estimator; Cochran 1977, section 7.2)

and what is left out costs the variance of the difference alone: Var(cut - dense) (1/n - 1/N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cpd.errors import DataError
from cpd.sensitivity.interval import FloatArray, Z, jackknife, wilson
from cpd.tasks.task import Task


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    value: the metric, 0..1.
    low, high: 90 % interval on images of this kind.
    spare: standard deviation of `value` against evaluating all images; 0 when all were.
    deviation: standard deviation of the difference to the dense network, on images of this kind.
    """

    value: float
    low: float
    high: float
    spare: float
    deviation: float


class Top1:
    """Accuracy: every image is right or wrong, and intervals are Wilson's."""

    def rows(self, outputs: Tensor, targets: Tensor) -> FloatArray:
        """(images, 1): 1 where the answer is right."""
        right = (outputs.argmax(1) == targets.to(outputs.device)).double().cpu().numpy()
        return np.asarray(right, np.float64).reshape(-1, 1)

    def verdict(self, dense: FloatArray, cut: FloatArray) -> Verdict:
        """From the rows of the dense network on all images and of the cut one on the first of them."""
        total, count = len(dense), len(cut)
        before, after = dense[:count, 0], cut[:count, 0]
        apart = after - before
        value = float(np.clip(dense.mean() + apart.mean(), 0, 1)) if count < total else float(after.mean())
        # One more disagreement either way than was seen: without, none among the first few images would mean certainty.
        lost, won = (apart < 0).sum() + 1, (apart > 0).sum() + 1
        varies = (lost + won) / (count + 2) - ((lost - won) / (count + 2)) ** 2
        spare = varies * (1 / count - 1 / total)
        # Wilson's interval for as many images as would give this variance: exactly `total` when all were evaluated.
        own = value * (1 - value)
        alike = own / (own / total + spare) if own > 0 else float(count)
        low, high = wilson(value, alike)
        return Verdict(value, low, high, math.sqrt(spare), math.sqrt(varies / count))


class Additive:
    """Any metric whose states add up over images (a confusion matrix, say): one row a batch, intervals by jackknife."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self._metric = task.metric().to(device)
        self._task, self._device = task, device
        states, kinds = self._states(), getattr(self._metric, "_reductions", {})
        if not states or any(getattr(kinds.get(name), "__name__", "") != "dim_zero_sum" for name in states):
            raise DataError(
                f"{task.name}: its metric {task.metric_name} is no function of sums over images, so no interval can be given."
            )

    def rows(self, outputs: Tensor, targets: Tensor) -> FloatArray:
        """(1, states): the metric's states after this batch alone."""
        self._metric.reset()
        self._metric.update(outputs, targets.to(self._device))
        flat = torch.cat([state.reshape(-1).double().cpu() for state in self._states().values()])
        return np.asarray(flat.numpy(), np.float64).reshape(1, -1)

    def value(self, total: FloatArray) -> float:
        """The metric of summed states."""
        self._metric.reset()
        start = 0
        for name, state in self._states().items():
            size = state.numel()
            part = torch.from_numpy(np.ascontiguousarray(total[start : start + size])).reshape(state.shape)
            setattr(self._metric, name, part.to(state.device, state.dtype))
            start += size
        self._metric._update_count = 1  # else torchmetrics warns that nothing was seen
        return float(self._metric.compute())

    def verdict(self, dense: FloatArray, cut: FloatArray) -> Verdict:
        total, count = len(dense), len(cut)
        width = dense.shape[1]
        both = np.concatenate([cut, dense[:count]], 1)

        def apart(states: FloatArray) -> float:
            return self.value(states[:width]) - self.value(states[width:])

        value = self.value(cut.sum(0))
        if count < total:
            value = float(np.clip(self.value(dense.sum(0)) + apart(both.sum(0)), 0, 1))
        varies = jackknife(both, apart)
        share = count / total
        spare = varies * (1 - share) if share < 1 else 0.0
        own = jackknife(cut, self.value) * share
        off = min(Z * math.sqrt(own + spare), 1.0)
        return Verdict(
            value, max(0.0, value - off), min(1.0, value + off), min(math.sqrt(spare), 1.0), min(math.sqrt(varies), 1.0)
        )

    def _states(self) -> dict[str, Any]:
        return {name: getattr(self._metric, name) for name in self._metric._defaults}


Judge = Top1 | Additive


def judge_for(task: Task, device: torch.device) -> Judge:
    """Raises DataError: the task's metric is no function of sums over images."""
    return Top1() if task.metric_name == "top1" else Additive(task, device)
