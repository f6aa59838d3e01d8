"""Comb, Prune, Distill: structured pruning for any vision model (arXiv 2408.03046).

    model, inputs = cpd.load_model("timm:resnet18")
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, ratio=0.5)
    pruned = cpd.prune(model, comb, plan)

Names load on first use: importing `cpd` costs no torch, and neither do plans, costs and the run store.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_model": "cpd.models",
    "save_bundle": "cpd.models.bundle",
    "Comb": "cpd.comb.comb",
    "CombRecord": "cpd.comb.record",
    "Group": "cpd.comb.group",
    "Slice": "cpd.comb.group",
    "Plan": "cpd.prune.plan",
    "GroupPlan": "cpd.prune.plan",
    "Constraints": "cpd.prune.plan",
    "uniform_plan": "cpd.prune.plan",
    "plan_ratios": "cpd.prune.plan",
    "plan_for_target": "cpd.prune.solve",
    "score": "cpd.importance.scoring",
    "CpdError": "cpd.errors",
}

# Packages that are also the verb they are named after: `cpd.comb(model, inputs)`, `cpd.prune(model, comb, plan)`.
_VERBS = ("comb", "prune")

__all__ = sorted([*_HOMES, *_VERBS])


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return importlib.import_module(f"cpd.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cpd' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
