"""What a network's metric is, from as few images as say it well enough.

The dense network is known on all N images, a cut one on n of them, and what the dense one says of an image tells much
of what a cut one will say:

- accuracy: images are put into strata by the dense network's margin (score of the true class over the best other one).
  Far above zero nearly all answers stay what they were, so most of the images that come first have small margins
  (stratified sampling, at random within a stratum; Cochran 1977, sections 5.5 and 5.9); the share of right answers is
  the strata's, weighted by their sizes.
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
from cpd.sensitivity.interval import FloatArray, IntArray, Z, jackknife, wilson
from cpd.tasks.task import Task

_STRATA = 10
_STEEP = 0.1  # how early the images of the largest margins come, where those of the smallest count 1


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

    def fewest(self, total: int) -> int:
        """Images at the least. Many widths lose next to nothing, and a table is read by rank: to tell them apart takes
        more than to know each well enough. (A third of 1,536 keeps a rank correlation of 0.96 where 192 keep 0.94.)"""
        return max(192, total // 3)

    def order(self, dense: FloatArray, seed: int) -> IntArray:
        """Images in the order in which they say most: small margins first and more of them, others among them.

        Of stratum h of H (from 0, the margins ascending), images come at a rate of (1 - h / (H - 1))^2 of their number,
        a tenth at the least; which of them come when is left to chance.
        """
        dice = np.random.default_rng(seed)
        stratum, strata = _strata(dense[:, 1])
        rate = np.maximum((1 - np.arange(strata) / max(strata - 1, 1)) ** 2, _STEEP)
        turn = np.empty(len(dense))
        for h in range(strata):
            mine = np.flatnonzero(stratum == h)
            turn[mine] = (dice.permutation(len(mine)) + dice.random()) / (max(len(mine), 1) * rate[h])
        return np.argsort(turn, kind="stable")

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
        value, spare = float(right.mean()), 0.0
        if count < total:
            value, spare, varies = _stratified(dense[:, 1], right, apart)
        else:
            # Half a disagreement more either way than was seen (Jeffreys' prior): else none would mean certainty.
            varies = _variance((apart < 0).sum() + 0.5, (apart > 0).sum() + 0.5, count + 1.0)
        # Wilson's interval for as many images as would give this variance: exactly `total` when all were evaluated.
        own = value * (1 - value)
        alike = own / (own / total + spare) if own > 0 else float(count)
        low, high = wilson(value, alike)
        return Verdict(value, low, high, math.sqrt(spare), math.sqrt(varies / total + spare))


def _strata(margin: FloatArray) -> tuple[IntArray, int]:
    """(N,) stratum of every image, and how many there are: tenths of the margins, and none across zero."""
    edges = np.unique([*np.quantile(margin, np.linspace(0, 1, _STRATA + 1)[1:-1]), 0.0])
    return np.searchsorted(edges, margin, side="right"), len(edges) + 1


def _stratified(margin: FloatArray, right: FloatArray, apart: FloatArray) -> tuple[float, float, float]:
    """Share of right answers over all images, the variance of this estimate, and that of one image's difference to
    the dense network, from the first images' answers.

    Args:
        margin: (N,) of the dense network on all images.
        right: (n,) answers of the cut network on the first of them, 0 or 1.
        apart: (n,) 1 where it is right and the dense one was not, -1 the other way round.
    """
    count = len(right)
    stratum, strata = _strata(margin)
    sizes = np.bincount(stratum, minlength=strata)
    seen = np.bincount(stratum[:count], minlength=strata)
    known = np.bincount(stratum[:count], weights=right, minlength=strata)
    # The half image of Jeffreys' prior is shared out among the strata, or many strata would seem uncertain together.
    share = (known + 0.5 / _STRATA) / (seen + 1 / _STRATA)
    weight = sizes / len(margin)
    value = float((weight * np.where(seen > 0, known / np.maximum(seen, 1), right.mean())).sum())
    left = np.where(sizes > 0, 1 / np.maximum(seen, 1) - np.where(seen > 0, 1 / np.maximum(sizes, 1), 0.0), 0.0)
    spread = np.where(seen > 0, share * (1 - share), 0.25)
    each = [np.bincount(stratum[:count], weights=way, minlength=strata) for way in (apart < 0, apart > 0)]
    lost, won = (len(margin) * float((weight * way / np.maximum(seen, 1)).sum()) + 0.5 for way in each)
    return value, float((weight**2 * spread * left).sum()), _variance(lost, won, len(margin) + 1.0)


def _variance(lost: float, won: float, count: float) -> float:
    """Of one image's difference, where so many of `count` are lost and won."""
    return float((lost + won) / count - ((lost - won) / count) ** 2)


class Additive:
    """Any metric whose states add up over images (a confusion matrix, say): one row a batch, intervals by jackknife."""

    def fewest(self, total: int) -> int:
        """Images at the least: fewer cost little."""
        return 512

    def order(self, dense: FloatArray, seed: int) -> None:
        """As they come: batches, not images, have states."""

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
