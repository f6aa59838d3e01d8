"""What accuracy a plan will keep before any training, from what cutting each group alone has cost.

Every group's curve says what was measured when that group alone was cut and batch-norm statistics were taken anew. Drops
are added up in the log-odds of the metric, where they compound: a network at 90 % that loses 30 points to one cut cannot
lose 30 points to each of four. Added drops are a model and not a law: part of what two cuts lose is the same. The
interval therefore grows with the predicted drop, with groups that were never measured, with widths outside of what was
measured, and downwards with every cut that showed no drop: a network with room to spare hides what several cuts together
take from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.estimate import Estimate

if TYPE_CHECKING:
    from cpd.sensitivity.table import GroupSensitivity, SensitivityTable

FloatArray = npt.NDArray[np.float64]

_FEW = 1e-3  # accuracies are kept this far from 0 and 1, where log-odds end
_Z = 1.645  # 90 % of a normal distribution lie within this many standard deviations
# From real combined cuts of three networks beside what was predicted of them: a CIFAR ResNet-20, and a residual network
# and a vision transformer on digits, 63 plans in all (benchmarks/plan.py shows such plans beside their predictions).
_SHARED = 0.75  # of the drops beside the largest, what adds to it
_COMBINING = 0.3  # standard deviation of that addition, as a share of it
_HIDDEN = 0.6  # log-odds that a whole group may have taken although its cut alone showed no drop
_UNMEASURED = 1.0  # the same for a group whose curve was taken from other groups


@dataclass(frozen=True, eq=False)
class Curve:
    """What one group's cut costs, at every width.

    Attributes:
        drop: (width + 1,) log-odds lost when so many units are kept; 0 at full width, never falling as fewer are kept.
        deviation: (width + 1,) standard deviation of `drop`.
        measured: whether it is the group's own; else it is the mean of those that were measured.
        least: fewest units that were measured; below, the curve goes on as it last rose.
    """

    drop: FloatArray
    deviation: FloatArray
    measured: bool
    least: int


@dataclass(frozen=True, order=True)
class _Part:
    """What one cut group adds to a prediction."""

    drop: float
    deviation: float
    ratio: float  # of its units that go
    measured: bool
    beyond: bool  # cut further than was measured


class AccuracyModel:
    """Predicts the metric of plans of one comb; an estimate takes well under a millisecond at 150 groups."""

    def __init__(self, record: CombRecord, table: SensitivityTable) -> None:
        """Raises PlanError: the table was measured on another model, or holds nothing yet."""
        if table.model != record.model:
            raise PlanError("this sensitivity was measured on another model; scan this one.")
        if not any(g.points for g in table.groups.values()):
            raise PlanError("no group's sensitivity has been measured yet; wait for the scan's first rows.")
        self.record, self.table = record, table
        self.metric = table.metric
        self._dense = _log_odds(table.dense)
        self._dense_deviation = float(_deviation(table.dense, table.images))
        own = {
            g.name: curve
            for g in record.groups
            if g.name in table.groups and (curve := _curve(g, table.groups[g.name], self._dense)) is not None
        }
        self.curves: dict[str, Curve] = own | _borrowed(record.groups, own)
        outputs = [g.width for g in record.groups if "output of the model" in g.reason]
        self._chance = 1 / max(outputs) if outputs and table.metric == "top1" else 0.0
        self._leader = {g.name: min((g.name, *g.tied)) for g in record.groups}

    def estimate(self, keep: Mapping[str, Sequence[int]]) -> Estimate:
        """The metric (0..1) of the network that keeps `keep`, before training and with fresh batch-norm statistics."""
        return self.estimate_counts({name: len(units) for name, units in keep.items()})

    def estimate_counts(self, counts: Mapping[str, int]) -> Estimate:
        """The same from the number of units that each group keeps; groups not named stay whole."""
        parts: dict[str, _Part] = {}
        for name, count in counts.items():
            curve = self.curves.get(name)
            if curve is None or count >= len(curve.drop) - 1:
                continue
            part = _Part(
                float(curve.drop[count]),
                float(curve.deviation[count]),
                1 - count / (len(curve.drop) - 1),
                curve.measured,
                count < curve.least,
            )
            # Tied groups are cut together, also when they were measured: their drop counts once.
            leader = self._leader[name]
            parts[leader] = max(parts.get(leader, part), part)
        if not parts:
            how = f"nothing is cut: the dense model's, on {self.table.images} images"
            return Estimate(self.table.dense, self.table.dense, self.table.dense, False, how)
        drops = [part.drop for part in parts.values()]
        added = _SHARED * (sum(drops) - max(drops))
        noise = sum(part.deviation**2 for part in parts.values()) + self._dense_deviation**2
        off = _Z * float(np.sqrt(noise + (_COMBINING * added) ** 2))
        unseen = [part.ratio for part in parts.values() if part.drop <= 2 * part.deviation]
        hidden = _HIDDEN * (sum(unseen) - max(unseen)) if unseen else 0.0
        middle = self._dense - max(drops) - added
        low, value, high = _share(middle - np.hypot(off, hidden)), _share(middle), _share(middle + off)
        # Where all is lost a network still guesses.
        low, value, high = min(low, value), max(value, self._chance), max(high, 1.25 * self._chance)
        return Estimate(value, min(low, value), max(high, value), False, self._how(list(parts.values())))

    def _how(self, parts: Sequence[_Part]) -> str:
        borrowed = sum(not part.measured for part in parts)
        beyond = sum(part.beyond for part in parts)
        text = f"drops of {len(parts)} groups, each measured alone, added in log-odds"
        if borrowed:
            text += f"; {borrowed} of them not measured, taken as the mean of the others"
        if beyond:
            text += f"; {beyond} narrower than measured"
        return text


def _curve(group: Group, found: GroupSensitivity, dense: float) -> Curve | None:
    """The curve of one group from its measured points; None where nothing below full width was measured."""
    points = sorted((p for p in found.points if p.kept < group.width), key=lambda p: p.kept)
    if not points:
        return None
    kept = np.array([p.kept for p in points] + [group.width], np.float64)
    drop = np.array([dense - _log_odds(p.value) for p in points] + [0.0])
    seen = np.array([_deviation(p.value, p.images, p.deviation) for p in points] + [1e-6])
    smooth = np.maximum(_falling(drop, 1 / seen**2), 0.0)
    return Curve(*_at_every_width(group.width, kept, smooth, np.append(seen[:-1], 0.0)), True, points[0].kept)


def _at_every_width(
    width: int, kept: FloatArray, drop: FloatArray, deviation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Between the points straight lines; below the narrowest the steepest slope seen goes on."""
    every = np.arange(width + 1, dtype=np.float64)
    drops, deviations = np.interp(every, kept, drop), np.interp(every, kept, deviation)
    below = every < kept[0]
    if below.any():
        slope = float(np.max(-np.diff(drop) / np.diff(kept)))
        further = slope * (kept[0] - every[below])
        drops[below] = drop[0] + further
        deviations[below] = np.hypot(deviation[0], further)
    return drops, deviations


def _borrowed(groups: Sequence[Group], own: Mapping[str, Curve]) -> dict[str, Curve]:
    """Curves of prunable groups without one: the mean of the others at the same ratio, as uncertain as they differ."""
    ratios = np.linspace(0, 1, 65)
    if not own:
        return {}
    others = np.array([np.interp(ratios, np.linspace(0, 1, len(c.drop)), c.drop) for c in own.values()])
    mean, apart = others.mean(0), others.std(0)
    result = {}
    for group in groups:
        if group.prunable and group.name not in own:
            at = np.linspace(0, 1, group.width + 1)
            drop = np.interp(at, ratios, mean)
            deviation = np.hypot(np.interp(at, ratios, apart), _UNMEASURED * drop)
            result[group.name] = Curve(drop, deviation, False, 0)
    return result


def _falling(values: FloatArray, weight: FloatArray) -> FloatArray:
    """The nearest sequence that never rises, in weighted squares: pool adjacent violators (Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []
    for value, w in zip(values, weight, strict=True):
        mean, mass, count = float(value), float(w), 1
        while blocks and blocks[-1][0] < mean:
            other, other_mass, other_count = blocks.pop()
            mean = (mean * mass + other * other_mass) / (mass + other_mass)
            mass, count = mass + other_mass, count + other_count
        blocks.append((mean, mass, count))
    return np.concatenate([np.full(count, mean) for mean, _, count in blocks])


def _log_odds(share: float) -> float:
    inside = min(max(share, _FEW), 1 - _FEW)
    return float(np.log(inside / (1 - inside)))


def _share(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))


def _deviation(share: float, images: int, difference: float = 0.0) -> float:
    """Standard deviation of the log-odds of a share (delta method: that of the share over p (1 - p)).

    Args:
        images: behind the share; its own deviation is sqrt(p (1 - p) / n).
        difference: that of the share's difference to the dense network's, where both were seen on the same images.
    """
    inside = min(max(share, _FEW), 1 - _FEW)
    alone = np.sqrt(inside * (1 - inside) / max(images, 1))
    # No image that differs is no proof that none would: a difference is known to half an image at best.
    return float(max(min(difference or alone, alone), 0.5 / max(images, 1)) / (inside * (1 - inside)))
