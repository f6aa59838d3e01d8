"""The criteria by name. A new one is a file beside this and one row here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpd.errors import PlanError

if TYPE_CHECKING:
    from cpd.importance.criterion import Criterion


@dataclass(frozen=True)
class Entry:
    """One criterion: where it lives and how a screen names it."""

    name: str
    title: str
    needs_data: bool
    home: str  # module:class, imported when it is used, so that listing criteria costs no torch

    def load(self) -> Criterion:
        module, _, kind = self.home.partition(":")
        criterion: Criterion = getattr(importlib.import_module(module), kind)()
        return criterion


CRITERIA: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("l1", "L1 magnitude", False, "cpd.importance.l1:L1"),
        Entry("l2", "L2 magnitude", False, "cpd.importance.l2:L2"),
        Entry("taylor", "Taylor, first order", True, "cpd.importance.taylor:Taylor"),
        Entry("fisher", "Accumulated Fisher per activation memory", True, "cpd.importance.fisher:Fisher"),
        Entry("random", "Random (control)", False, "cpd.importance.random:Random"),
    )
}


def criterion_names() -> tuple[str, ...]:
    return tuple(CRITERIA)


def check_criteria(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order given.

    Raises:
        PlanError: a name that is not registered.
    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in CRITERIA:
            raise PlanError(f"no criterion is called {name!r}; there are {', '.join(CRITERIA)}.")
    if not chosen:
        raise PlanError(f"name at least one criterion of {', '.join(CRITERIA)}.")
    return chosen
