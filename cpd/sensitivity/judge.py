"""What a network's metric is, from as few images as say it well enough.

The dense network is known on all N images, a cut one on n of them, and what the dense one says of an image tells much
of what a cut one will say:

- accuracy: images are put into strata by the dense network's margin (score of the true class over the best other one).
  Far from zero nearly all answers stay what they were, so a stratum needs few images; the share of right answers is the
  strata's, weighted by their sizes (post-stratification; Cochran 1977, section 5A.9).
- any other metric: the dense network's value on all images, plus the difference between the two networks on the first n
  (a difference estimator; Cochran 1977, section 7.2).

Either is exact once n = N.
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

_STRATA = 10


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
        """(images, 2): 1 where the answer is right, and the margin of the true class."""
        scores, truth = outputs.double().cpu(), targets.cpu().reshape(-1, 1)
        others = scores.scatter(1, truth, -math.inf).amax(1)
        margin = torch.nan_to_num(scores.gather(1, truth)[:, 0] - others)
        right = scores.argmax(1) == truth[:, 0]
        return np.stack([right.double().numpy(), margin.numpy()], 1)

    def verdict(self, dense: FloatArray, cut: FloatArray) -> Verdict:
        """From the rows of the dense network on all images and of the cut one on the first of them."""
        total, count = len(dense), len(cut)
        right = cut[:, 0]
        apart = right - dense[:count, 0]
        # Half a disagreement more either way than was seen (Jeffreys' prior): else none so far would mean certainty.
        lost, won = (apart < 0).sum() + 0.5, (apart > 0).sum() + 0.5
        varies = (lost + won) / (count + 1) - ((lost - won) / (count + 1)) ** 2
        value, spare = float(right.mean()), 0.0
        if count < total:
            value, spare = _stratified(dense[:, 1], right)
        # Wilson's interval for as many images as would give this variance: exactly `total` when all were evaluated.
        own = value * (1 - value)
        alike = own / (own / total + spare) if own > 0 else float(count)
        low, high = wilson(value, alike)
        return Verdict(value, low, high, math.sqrt(spare), math.sqrt(varies / count))


def _stratified(margin: FloatArray, right: FloatArray) -> tuple[float, float]:
    """Share of right answers over all images and the variance of this estimate, from the first images' answers.

    Args:
        margin: (N,) of the dense network on all images.
        right: (n,) answers of the cut network on the first of them, 0 or 1.
    """
    total, count = len(margin), len(right)
    edges = np.unique([*np.quantile(margin, np.linspace(0, 1, _STRATA + 1)[1:-1]), 0.0])
    stratum = np.searchsorted(edges, margin, side="right")
    sizes = np.bincount(stratum, minlength=len(edges) + 1)
    seen = np.bincount(stratum[:count], minlength=len(sizes))
    known = np.bincount(stratum[:count], weights=right, minlength=len(sizes))
    # The half image of Jeffreys' prior is shared out among the strata, or many strata would seem uncertain together.
    share = (known + 0.5 / _STRATA) / (seen + 1 / _STRATA)
    weight = sizes / total
    value = float((weight * np.where(seen > 0, known / np.maximum(seen, 1), right.mean())).sum())
    left = np.where(sizes > 0, 1 / np.maximum(seen, 1) - np.where(seen > 0, 1 / np.maximum(sizes, 1), 0.0), 0.0)
    spread = np.where(seen > 0, share * (1 - share), 0.25)
    return value, float((weight**2 * spread * left).sum())


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
