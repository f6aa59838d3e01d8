"""What a sensitivity table says in terms that a person decides by: how far each group can go, and what that buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cpd.comb.record import CombRecord
from cpd.sensitivity.staircase import staircase, treads
from cpd.sensitivity.table import Point, SensitivityTable

SIGMAS = 1.645  # a two-sided interval of 90 %


@dataclass(frozen=True)
class Reach:
    """How far one group can be cut alone before the metric falls by more than was allowed.

    Attributes:
        ratio: of the narrowest measured width within the limit that can be reached without leaving it on the way.
        kept, drop: units kept there, and the metric lost there (0..1).
        sure: whether the drop stays within the limit at the far end of its 90 % interval too.
        open: whether the scan ended there: narrower widths may do as well.
        saved_ms, saved_macs: there, as shares of the dense network's; None where it was not measured.
    """

    group: str
    width: int
    ratio: float
    kept: int
    drop: float
    sure: bool
    open: bool
    saved_ms: float | None
    saved_macs: float | None


def ratio(point: Point, width: int) -> float:
    return 1 - point.kept / width


def drop(table: SensitivityTable, point: Point) -> float:
    """Metric lost to the cut; negative where it gained."""
    return table.dense - point.value


def reach(table: SensitivityTable, name: str, width: int, allowed: float, dense_macs: float = 0.0) -> Reach:
    """The farthest cut of one group alone that costs at most `allowed` (0..1)."""
    points = table.groups[name].points
    within: list[Point] = []
    for point in points:
        if drop(table, point) > allowed + 1e-12:
            break
        within.append(point)
    last = within[-1] if within else Point(width, table.dense, table.dense, table.dense, 0)
    saved = None
    if last.latency_ms is not None and table.dense_latency_ms:
        saved = 1 - last.latency_ms / table.dense_latency_ms
    macs = 1 - last.macs / dense_macs if dense_macs and last.macs else None
    return Reach(
        name, width, ratio(last, width), last.kept, drop(table, last), drop(table, last) + SIGMAS * last.deviation <= allowed + 1e-12,
        bool(within) and within[-1] is points[-1], saved, macs,
    )  # fmt: skip


def ranked(table: SensitivityTable, record: CombRecord, allowed: float, dense_macs: float = 0.0) -> list[Reach]:
    """Every measured group, the most robust first; equal reaches by what they lose."""
    widths = {group.name: group.width for group in record.groups}
    rows = [reach(table, name, widths[name], allowed, dense_macs) for name in table.groups if name in widths]
    return sorted(rows, key=lambda row: (-row.ratio, row.drop))


def stairs_in_words(points: Sequence[Point], most: int = 3) -> list[str]:
    """Which steps in width buy time and which buy nothing, the largest first; empty where nothing was timed."""
    steps = staircase(points)
    if not steps:
        return []
    said = []
    buys = sorted((step for step in steps if step.buys), key=lambda step: -step.saved_ms)
    for step in buys[:most]:
        said.append(f"From {step.wide} to {step.narrow} units buys {step.saved_ms:.2f} ms.")
    if len(buys) > most:
        said.append(f"{len(buys) - most} more steps buy less.")
    longest = sorted((tread for tread in treads(points) if len(tread) > 1), key=lambda tread: tread[-1] - tread[0])
    said += [f"{tread[0]} to {tread[-1]} units take equally long: keep {tread[0]}." for tread in longest[:most]]
    return said


def widths_of(record: CombRecord) -> Mapping[str, int]:
    return {group.name: group.width for group in record.groups if group.prunable}
