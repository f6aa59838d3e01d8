"""Presets: targets are met, hand-set groups stay, and each rule is what its name says."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cpd.comb.comb import comb
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.cost import CostModel
from cpd.prune.plan import Scores, plan_ratios
from cpd.prune.predict import AccuracyModel
from cpd.prune.presets import PRESETS, preset


@cache
def record() -> CombRecord:
    """Hidden layers of 8, 8, 40 and 8 units."""
    widths = (6, 8, 8, 40, 8, 3)
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return comb(nn.Sequential(*layers[:-1]).eval(), (torch.randn(2, 6),)).record


def names() -> list[str]:
    return [g.name for g in record().groups if g.prunable]


def scores(seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    return {g.name: rng.random(g.width) + 0.01 for g in record().groups}


def accuracy() -> AccuracyModel:
    """The first group is ten times as sensitive as the others."""
    groups = {}
    for number, name in enumerate(names()):
        width, steep = record().by_name[name].width, 0.5 if number == 0 else 0.05
        points = [
            SimpleNamespace(kept=round(width * s), value=0.9 - steep * (1 - s), images=1000, deviation=0.001)
            for s in (1.0, 0.75, 0.5, 0.25)
        ]
        groups[name] = SimpleNamespace(points=points)
    table: Any = SimpleNamespace(model=record().model, metric="top1", dense=0.9, images=1000, groups=groups)
    return AccuracyModel(record(), table)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("target", [{"macs": 0.5}, {"params": 0.3}])
def test_targets_are_met_with_what_was_set_by_hand(name: str, target: dict[str, float]) -> None:
    held = {names()[1]: 0.5}
    found = preset(name, record(), scores(), target=target, fixed=held, accuracy=accuracy())
    assert not set(held) & set(found.ratios)
    costs, (quantity, limit) = CostModel(record()), next(iter(target.items()))
    plan = plan_ratios(record(), {**found.ratios, **held}, scores())
    reached = costs.price(plan.keep).share_of(costs.dense)[quantity]
    assert found.met
    assert reached == found.reached
    assert limit - 0.12 < reached <= limit


@pytest.mark.parametrize("name", list(PRESETS))
def test_more_strength_never_takes_less(name: str) -> None:
    before = dict.fromkeys(names(), 0.0)
    for strength in np.linspace(0, 1, 9):
        now = preset(name, record(), scores(), ratio=float(strength), accuracy=accuracy()).ratios
        assert all(now[n] >= before[n] - 1e-12 for n in before)
        before = now
    assert preset(name, record(), scores(), ratio=0.0, accuracy=accuracy()).ratios == dict.fromkeys(names(), 0.0)


def test_one_threshold_divides_all_units() -> None:
    ranks = scores()
    found = preset("importance", record(), ranks, ratio=0.4, scaled=False)
    plan = plan_ratios(record(), found.ratios, ranks)
    kept = np.concatenate([ranks[n][list(plan.keep[n])] for n in names()])
    gone = np.concatenate([np.delete(ranks[n], list(plan.keep[n])) for n in names()])
    assert gone.max() <= kept.min()
    assert len(gone) == round(0.4 * (len(gone) + len(kept)))


def test_groups_of_one_shape_lose_their_share_together() -> None:
    ranks = {g.name: np.full(g.width, 5.0) + np.arange(g.width) for g in record().groups}
    ranks |= {n: ranks[n] * 0.1 for n in names() if record().by_name[n].width == 40}
    found = preset("alike", record(), ranks, ratio=0.5, scaled=False).ratios
    for width in (8, 40):
        units = [round(found[n] * width) for n in names() if record().by_name[n].width == width]
        assert sum(units) == pytest.approx(0.5 * width * len(units), abs=1)


def test_equal_scores_go_at_one_pace() -> None:
    equal = {g.name: np.ones(g.width) for g in record().groups}
    found = preset("importance", record(), equal, ratio=0.5).ratios
    assert max(found.values()) - min(found.values()) <= 1 / 8


def test_the_sensitive_group_keeps_more() -> None:
    found = preset("sensitivity", record(), scores(), target={"macs": 0.5}, accuracy=accuracy()).ratios
    first, *others = (found[n] for n in names())
    assert first < min(others)


def test_what_cannot_be_met_says_so() -> None:
    found = preset("uniform", record(), scores(), target={"macs": 0.001})
    assert not found.met
    assert found.reached is not None
    assert found.reached > 0.001


def test_calls_that_make_no_sense_are_refused() -> None:
    with pytest.raises(PlanError, match="no preset is called 'best'"):
        preset("best", record(), scores(), ratio=0.5)
    with pytest.raises(PlanError, match="either a ratio or a target"):
        preset("uniform", record(), scores())
    with pytest.raises(PlanError, match="outside 0..1"):
        preset("uniform", record(), scores(), ratio=1.5)
    with pytest.raises(PlanError, match="scan the model first"):
        preset("sensitivity", record(), scores(), ratio=0.5)
    with pytest.raises(PlanError, match="profile the model first"):
        preset("uniform", record(), scores(), target={"latency_ms": 1.0})
