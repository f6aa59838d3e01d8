"""A plan while it is being edited: requested ratios, rows that are held, and the steps back and forth.

Pure: a draft and an edit give the next draft, and every draft gives one plan. The page keeps the history and writes
the plan to disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from app.charts.ratios import Ratio
from cpd.comb.record import CombRecord
from cpd.prune.plan import Constraints, Plan, Scores, plan_ratios
from cpd.prune.solve import plan_for_target

LONGEST = 200  # steps that can be undone


@dataclass(frozen=True)
class Draft:
    """What the user has asked for.

    Attributes:
        ratios: requested ratio per group, 0..1; groups that are not named keep everything.
        held: groups whose ratio the solver and the uniform slider leave alone.
        criterion: whose scores choose the units; "" for none.
        target, shortfall: as in `Plan`, after a solve that nothing has changed since.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    criterion: str = ""
    constraints: Constraints = Constraints()
    target: Mapping[str, float] = field(default_factory=dict)
    shortfall: str = ""

    def edited(self, rows: Mapping[str, Mapping[str, Any]]) -> Draft:
        """Cells of the table, group -> {"requested": 0..1, "held": bool}; a ratio typed by hand is held from then on.

        Values out of range are drawn to it: the browser's limits are no limits for a server.
        """
        ratios, held = dict(self.ratios), set(self.held)
        for group, cells in rows.items():
            if cells.get("requested") is not None:
                ratios[group] = min(1.0, max(0.0, float(cells["requested"])))
                held.add(group)
            if "held" in cells:
                (held.add if cells["held"] else held.discard)(group)
        return replace(self, ratios=ratios, held=frozenset(held), target={}, shortfall="")

    def uniform(self, record: CombRecord, ratio: float) -> Draft:
        """The same ratio for every prunable group that is not held."""
        free = {g.name: ratio for g in record.groups if g.prunable and g.name not in self.held}
        return replace(self, ratios={**self.ratios, **free}, target={}, shortfall="")

    def solved(self, record: CombRecord, scores: Scores | None, target: Mapping[str, float]) -> Draft:
        """The solver's ratios for a target; held rows stay. Without scores it looks at cost alone.

        Raises:
            PlanError: an impossible target.
        """
        fixed = {name: self.ratios.get(name, 0.0) for name in self.held if record.by_name[name].prunable}
        known = scores or {group.name: np.ones(group.width) for group in record.groups}
        plan = plan_for_target(record, known, target, self.constraints, fixed, self.criterion)
        return replace(self, ratios=plan.ratios, target=dict(target), shortfall=plan.shortfall)

    def plan(self, record: CombRecord, scores: Scores | None) -> Plan:
        """The plan that grants what can be granted of this draft."""
        made = plan_ratios(record, self.ratios, scores, self.constraints, self.criterion)
        return replace(made, target=dict(self.target), shortfall=self.shortfall)

    @staticmethod
    def of(plan: Plan, held: frozenset[str] = frozenset()) -> Draft:
        """The draft that a saved plan came from."""
        return Draft(plan.ratios, held, plan.criterion, plan.constraints, dict(plan.target), plan.shortfall)


@dataclass(frozen=True)
class History:
    """Drafts in the order in which they were made, and which of them is shown."""

    drafts: tuple[Draft, ...]
    position: int = 0

    @property
    def now(self) -> Draft:
        return self.drafts[self.position]

    def then(self, draft: Draft) -> History:
        """A new draft after the one shown; what had been undone is forgotten. An edit that changes nothing is none."""
        if draft == self.now:
            return self
        kept = (*self.drafts[: self.position + 1], draft)[-LONGEST:]
        return History(kept, len(kept) - 1)

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position < len(self.drafts) - 1

    def undo(self) -> History:
        return replace(self, position=max(0, self.position - 1))

    def redo(self) -> History:
        return replace(self, position=min(len(self.drafts) - 1, self.position + 1))


def rows(record: CombRecord, plan: Plan) -> list[Ratio]:
    """A plan's groups for charts and tables, in forward order."""
    by_name = {row.group: row for row in plan.groups}
    return [
        Ratio(g.name, g.width, len(by_name[g.name].keep), by_name[g.name].requested, g.prunable, by_name[g.name].reason or g.reason)
        for g in record.groups
    ]
