"""A plan while it is being edited: requested ratios, rows that are held, and the choices that shape every plan.

Pure: a draft and an edit give the next draft, and every draft gives one plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from app.charts.ratios import Ratio
from cpd.comb.record import CombRecord
from cpd.errors import PlanError
from cpd.prune.latency import LatencyModel
from cpd.prune.plan import Constraints, Plan, Scores, plan_ratios
from cpd.prune.predict import AccuracyModel
from cpd.prune.presets import preset
from cpd.prune.solve import plan_for_target


@dataclass(frozen=True)
class Draft:
    """What the user has asked for.

    Attributes:
        ratios: requested ratio per group, above 0 and at most 1; groups that are not named keep everything.
        held: groups whose ratio presets, the solver and the slider for all leave alone.
        criterion: whose scores choose the units; "" for none.
        target, shortfall: as in `Plan`, after a solve that nothing has changed since.
        floor: least predicted accuracy, 0..1, that this solve was to keep; 0 for none.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    criterion: str = ""
    constraints: Constraints = Constraints()
    target: Mapping[str, float] = field(default_factory=dict)
    shortfall: str = ""
    floor: float = 0.0

    def edited(self, rows: Mapping[str, Mapping[str, Any]]) -> Draft:
        """Cells of the table, group -> {"requested": 0..1, "held": bool, "least": units, 0 for no minimum of its own}; a
        ratio typed by hand is held from then on.

        Values out of range are drawn to it: the browser's limits are no limits for a server.
        """
        ratios, held, least = dict(self.ratios), set(self.held), dict(self.constraints.minimums)
        for group, cells in rows.items():
            if cells.get("requested") is not None:
                ratios[group] = _within(float(cells["requested"]))
                held.add(group)
            if "held" in cells:
                (held.add if cells["held"] else held.discard)(group)
            if "least" in cells:
                least[group] = max(0, int(cells["least"]))
        minimums = {group: units for group, units in least.items() if units}
        return replace(self._with(ratios, held), constraints=replace(self.constraints, minimums=minimums))

    def put(self, record: CombRecord, names: Collection[str], ratio: float) -> Draft:
        """One ratio for these groups, by hand: they are held from then on. Locked groups are passed over."""
        free = _prunable(record, names)
        return self._with({**self.ratios, **dict.fromkeys(free, _within(ratio))}, self.held | free)

    def scaled(self, record: CombRecord, names: Collection[str], factor: float) -> Draft:
        """The ratios of these groups times `factor`, by hand: what is cut is held from then on."""
        free = {name for name in _prunable(record, names) if self.ratios.get(name)}
        return self._with({**self.ratios, **{name: _within(self.ratios[name] * factor) for name in free}}, self.held | free)

    def hold(self, record: CombRecord, names: Collection[str], on: bool) -> Draft:
        """Hold or release these groups; ratios stay."""
        free = _prunable(record, names)
        return replace(self, held=self.held | free if on else self.held - frozenset(names))

    def reset(self, names: Collection[str]) -> Draft:
        """These groups as if nobody had asked for anything: nothing cut, nothing held."""
        return self._with({name: ratio for name, ratio in self.ratios.items() if name not in names}, self.held - frozenset(names))

    def uniform(self, record: CombRecord, ratio: float) -> Draft:
        """The same ratio for every prunable group that is not held."""
        return self.taking(record, {g.name: _within(ratio) for g in record.groups})

    def taking(self, record: CombRecord, ratios: Mapping[str, float]) -> Draft:
        """These ratios for the prunable groups that are not held; those not named keep everything."""
        free = {g.name: ratios.get(g.name, 0.0) for g in record.groups if g.prunable and g.name not in self.held}
        return self._with({**self.ratios, **free}, self.held)

    def solved(
        self,
        record: CombRecord,
        scores: Scores | None,
        target: Mapping[str, float],
        accuracy: AccuracyModel | None = None,
        latency: LatencyModel | None = None,
        floor: float = 0.0,
    ) -> Draft:
        """The solver's ratios for a target; held rows stay. Without scores it looks at cost alone, without measured
        sensitivities (`accuracy`) at scores and cost.

        Raises:
            PlanError: an impossible target, or one that needs what was not measured.
        """
        plan = plan_for_target(record, known(record, scores), target, self.constraints, self.fixed(record), self.criterion,
                               accuracy=accuracy, latency=latency, floor=floor)  # fmt: skip
        return replace(self.planned(plan), floor=floor)

    def preset(
        self,
        record: CombRecord,
        scores: Scores | None,
        name: str,
        ratio: float | None,
        target: Mapping[str, float] | None = None,
        accuracy: AccuracyModel | None = None,
        latency: LatencyModel | None = None,
    ) -> Draft:
        """The ratios of a rule, for a share of units that go or for a target; held rows stay.

        Raises:
            PlanError: the target is out of this rule's reach, or something it needs was not measured.
        """
        found = preset(name, record, known(record, scores), ratio=ratio, target=target, constraints=self.constraints,
                       fixed=self.fixed(record), accuracy=accuracy, latency=latency)  # fmt: skip
        if not found.met:
            raise PlanError(f"this preset cannot reach {dict(target or {})}: {found.reached:.4g} is the least, with what is held, locked and the least widths; "
                            "nothing was changed.")  # fmt: skip
        return self.taking(record, found.ratios)

    def planned(self, plan: Plan) -> Draft:
        """What a solver's plan asks for, with this draft's holds."""
        return replace(Draft.of(plan, self.held), criterion=self.criterion, constraints=self.constraints)

    def fixed(self, record: CombRecord) -> dict[str, float]:
        """Ratios that a solver must leave alone."""
        return {name: self.ratios.get(name, 0.0) for name in self.held if record.by_name[name].prunable}

    def choosing(self, criterion: str, constraints: Constraints) -> Draft:
        """Other units chosen and other widths allowed; a ratio asked for stays what it was."""
        return replace(self, criterion=criterion, constraints=constraints)

    def plan(self, record: CombRecord, scores: Scores | None) -> Plan:
        """The plan that grants what can be granted of this draft."""
        made = plan_ratios(record, self.ratios, scores, self.constraints, self.criterion)
        return replace(made, target=dict(self.target), shortfall=self.shortfall)

    def _with(self, ratios: Mapping[str, float], held: Collection[str]) -> Draft:
        """Other ratios and holds: no longer what a solver gave."""
        return replace(self, ratios=_nonzero(ratios), held=frozenset(held), target={}, shortfall="", floor=0.0)

    @staticmethod
    def of(plan: Plan, held: frozenset[str] = frozenset()) -> Draft:
        """The draft that a saved plan came from."""
        return Draft(_nonzero(plan.ratios), held, plan.criterion, plan.constraints, dict(plan.target), plan.shortfall)


def known(record: CombRecord, scores: Scores | None) -> Scores:
    """Scores for every group; without any, all units are worth the same."""
    return scores or {group.name: np.ones(group.width) for group in record.groups}


def rows(record: CombRecord, plan: Plan) -> list[Ratio]:
    """A plan's groups for charts and tables, in forward order."""
    by_name = {row.group: row for row in plan.groups}
    return [
        Ratio(g.name, g.width, len(by_name[g.name].keep), by_name[g.name].requested, g.prunable, by_name[g.name].reason or g.reason)
        for g in record.groups
    ]


def _prunable(record: CombRecord, names: Collection[str]) -> frozenset[str]:
    return frozenset(name for name in names if name in record.by_name and record.by_name[name].prunable)


def _within(ratio: float) -> float:
    return min(1.0, max(0.0, ratio))


def _nonzero(ratios: Mapping[str, float]) -> dict[str, float]:
    """Nothing asked for is the same as a ratio of 0: one draft, one form."""
    return {name: ratio for name, ratio in ratios.items() if ratio}
