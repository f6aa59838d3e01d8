"""Importance: one score for every unit of every group, from all the tensor slices that leave with it.

scores.py     a table of scores as names and numbers (no torch)
registry.py   the criteria by name (no torch until one is used)
criterion.py  what a criterion decides; l1, l2, taylor, fisher and random are a file each
reduce.py     weights and gradients -> sums over slices and units, in whole-model operations
accumulate.py the running total over batches, on a dense model or on a student that is already cut
scoring.py    the verb: `cpd.score(model, record, batches, ["l2", "fisher"])`
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "score": "cpd.importance.scoring",
    "ScoreTable": "cpd.importance.scores",
    "LayerScores": "cpd.importance.scores",
    "CRITERIA": "cpd.importance.registry",
    "criterion_names": "cpd.importance.registry",
}

__all__ = ["CRITERIA", "LayerScores", "ScoreTable", "criterion_names", "score"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the app can read score files and list criteria without torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'cpd.importance' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
