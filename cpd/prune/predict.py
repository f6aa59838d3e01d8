"""What accuracy a plan will keep before any training, from what cutting each group alone has cost.

Every group's curve says what was measured when that group alone was cut and batch-norm statistics were taken anew. The
drops are added up in the log-odds of the metric, where they compound: a network at 90 % that loses 30 points to one cut
cannot lose 30 points to each of four. Added drops are a model, not a law, so the interval grows with the predicted drop,
with groups that were never measured, and with widths outside of what was measured.
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
# What real combined cuts showed beside the predicted ones (benchmarks/predict.py): the total drop is off by this factor's
# standard deviation, on a log scale.
_COMBINING = 0.35
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
        self._leader = {g.name: min((g.name, *g.tied)) for g in record.groups}

    def estimate(self, keep: Mapping[str, Sequence[int]]) -> Estimate:
        """The metric (0..1) of the network that keeps `keep`, before training and with fresh batch-norm statistics."""
        return self.estimate_counts({name: len(units) for name, units in keep.items()})

    def estimate_counts(self, counts: Mapping[str, int]) -> Estimate:
        """The same from the number of units that each group keeps; groups not named stay whole."""
        parts: dict[str, tuple[float, float, bool, bool]] = {}
        for name, count in counts.items():
            curve = self.curves.get(name)
            if curve is None or count >= len(curve.drop) - 1:
                continue
            part = (float(curve.drop[count]), float(curve.deviation[count]), curve.measured, count < curve.least)
            # Tied groups are cut together, also when they were measured: their drop counts once.
            leader = self._leader[name]
            parts[leader] = max(parts.get(leader, part), part)
        total = sum(drop for drop, *_ in parts.values())
        noise = sum(deviation**2 for _, deviation, *_ in parts.values()) + (self._dense_deviation**2 if parts else 0.0)
        spread = _COMBINING * total if len(parts) > 1 else 0.0
        off = _Z * float(np.sqrt(noise + spread**2))
        middle = self._dense - total
        low, value, high = (float(_share(middle + shift)) for shift in (-off, 0.0, off))
        if not parts:
            low = value = high = self.table.dense
        return Estimate(value, min(low, value), max(high, value), False, self._how(parts))

    def _how(self, parts: Mapping[str, tuple[float, float, bool, bool]]) -> str:
        if not parts:
            return f"nothing is cut: the dense model's, on {self.table.images} images"
        borrowed = sum(not measured for _, _, measured, _ in parts.values())
        beyond = sum(outside for *_, outside in parts.values())
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
    weight = np.array([1 / max(_deviation(p.value, p.images), 1e-4) ** 2 for p in points] + [1e12])
    smooth = np.maximum(_falling(drop, weight), 0.0)
    deviation = np.append(np.sqrt(1 / weight[:-1]), 0.0)
    return Curve(*_at_every_width(group.width, kept, smooth, deviation), True, points[0].kept)


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


def _deviation(share: float, images: int) -> float:
    """Standard deviation of the log-odds of a share seen on so many images (delta method: 1 / sqrt(n p (1 - p)))."""
    inside = min(max(share, _FEW), 1 - _FEW)
    return float(1 / np.sqrt(max(images, 1) * inside * (1 - inside)))
