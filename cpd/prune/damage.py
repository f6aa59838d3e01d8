"""What cutting a group costs, at every width: measured sensitivity, with importance where that says nothing.

A sensitivity curve says what a cut costs before training. Training then brings back what few weights can learn again:
so a group also costs its share of the network's parameters, by which plans that measure alike differ in what is left of
them after a short training.

A curve is flat where a cut lost less than the images can tell. There importance decides: its own curve is added with a
small weight, so that of two cuts which measured alike the one that removes less goes first.
"""

from __future__ import annotations

import numpy as np

from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.prune.order import Damage, FloatArray, clusters, score_values
from cpd.prune.plan import Scores
from cpd.prune.predict import AccuracyModel
from cpd.prune.quantity import Quantity

# Log-odds for all parameters of a network. On a CIFAR ResNet-20 at half of the MACs, trained for 200 steps: with 1, as
# with 3 and 10, 0.5 to 0.8 points above 0 (one seed; benchmarks/accuracy.py has the network).
_LEARNT = 1.0
_WEIGHT = 0.02  # of importance, where both curves are brought to one mean over half of the groups' units


def damages(record: CombRecord, scores: Scores, accuracy: AccuracyModel, meter: Quantity) -> Damage:
    """(width + 1,) for every prunable group; groups that are tied share one curve."""
    shares = CostModel(record).shares
    measured: dict[str, FloatArray] = {}
    ranked: dict[str, FloatArray] = {}
    for names in clusters(record.groups):
        if not record.by_name[names[0]].prunable:
            continue
        drop = np.max([accuracy.curves[name].drop for name in names], axis=0)
        learnt = _LEARNT * sum(shares[name]["params"] for name in names) * np.linspace(1, 0, len(drop))
        hanging = sum(meter.hanging[name] for name in names)
        rank = hanging * np.mean([importance_curve(record, scores, name) for name in names], axis=0)
        measured |= dict.fromkeys(names, drop + learnt)
        ranked |= dict.fromkeys(names, rank)
    halves = [(measured[name][len(c) // 2], c[len(c) // 2]) for name, c in ranked.items()]
    scale = sum(m for m, _ in halves) / max(sum(r for _, r in halves), 1e-30)
    weight = _WEIGHT * max(scale, 1e-6)
    return {name: curve + weight * ranked[name] for name, curve in measured.items()}


def importance_curve(record: CombRecord, scores: Scores, name: str) -> FloatArray:
    """(width + 1,) what `order.py` holds a group's cuts to be worth, added up from the full width down.

    Every unit costs its share of the score that is left, times how narrow the group already is.
    """
    group = record.by_name[name]
    values = np.sort(score_values(group, scores))[::-1]  # the last unit to leave first
    left = np.cumsum(values)
    kept = np.arange(1, group.width + 1)
    steps = values / np.maximum(left, 1e-30) * group.width / kept
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)
