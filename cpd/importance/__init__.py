"""Importance: one score for every unit of every group, from all the tensor slices that leave with it.

scores.py     a table of scores as names and numbers (no torch)
registry.py   the criteria by name (no torch until one is used)
normalise.py  scores made comparable between groups, also per MAC and per millisecond saved (no torch)
stability.py  how alike two lists of scores rank units (no torch)
criterion.py  the first kind of criterion: a number on every weight; l1, l2, lamp, taylor, fisher, reference, hessian, random
reduce.py     weights and derivatives -> sums over slices and units, in whole-model operations
accumulate.py their running totals over batches, on a dense model or on a student that is already cut
observer.py   the second kind: one that looks at the model; fpgm, bn_scale, activation and integrated_gradients
taps.py       where units are to be seen in activations, read from the comb
collect.py    what observers say, as tables
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
