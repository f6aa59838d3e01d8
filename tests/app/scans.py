"""Sensitivity tables made by hand, whose reaches and stairs can be told with pencil and paper."""

from __future__ import annotations

from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable

DENSE, DENSE_MS = 0.95, 10.0


def scan(record: CombRecord, steps: int = 8, groups: int | None = None, done: bool = True, floor: float = 0.5) -> SensitivityTable:
    """Group i loses 0.4 * (i mod 10 + 1)^2 points at every eighth that goes; time falls by 1 ms at every second step alone.

    Args:
        groups: how many have been measured; None for all that can be.
    """
    cost = CostModel(record)
    found: dict[str, GroupSensitivity] = {}
    free = [group for group in record.groups if group.prunable]
    for i, group in enumerate(free[:groups]):
        points, stopped = [], ""
        for step in range(steps):
            kept = group.width - group.width * step // steps
            value = DENSE - 0.004 * (i % 10 + 1) ** 2 * step * 8 / steps
            ms = DENSE_MS - step // 2
            macs = cost.price({group.name: tuple(range(kept))}).macs
            points.append(Point(kept, value, value - 0.02, value + 0.02, 512, ms, ms - 0.2, ms + 0.2, macs, 0.004 if step else 0.0))
            if value < floor:
                stopped = f"the metric fell below {100 * floor:.0f} %"
                break
        found[group.name] = GroupSensitivity(tuple(points), stopped)
    return SensitivityTable(
        record.model, "top1", DENSE, 512, 32, found, 42.0, done, DENSE - 0.015, DENSE + 0.015, 0.951, DENSE_MS, "l2", floor, 256, "a test bench", 2
    )
