"""Where a step in width buys time, and where it buys nothing (no torch).

Kernels work on vectors and tiles: latency falls with width in stairs, not along a line. On one tread the widest width
is the best buy: it takes as long as the narrower ones and keeps more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpd.sensitivity.table import Point


@dataclass(frozen=True)
class Step:
    """From one measured width to the next narrower one.

    Attributes:
        wide, narrow: units kept before and after.
        saved_ms: median time gained by this step alone; negative where the narrower network is slower.
        landing: the widest width that takes as long as `wide` does, as far as can be measured: the top of its tread.
        buys: whether the step to `narrow` is faster than `landing` beyond the noise of both.
    """

    wide: int
    narrow: int
    saved_ms: float
    landing: int
    buys: bool


def staircase(points: Sequence[Point]) -> tuple[Step, ...]:
    """The steps between the timed points of one group, the widest first.

    A step buys time when its interval lies below that of the landing: intervals of 90 % that do not touch make a false
    step rarer than 1 in 50. Each width is compared with the landing and not with its neighbour, so that many small
    gains do add up to a step.
    """
    timed = sorted((p for p in points if p.latency_ms is not None), key=lambda p: -p.kept)
    steps: list[Step] = []
    landing = timed[0] if timed else None
    for wide, narrow in zip(timed, timed[1:], strict=False):
        assert landing is not None
        buys = _high(narrow) < _low(landing)
        steps.append(Step(wide.kept, narrow.kept, _time(wide) - _time(narrow), landing.kept, buys))
        if buys:
            landing = narrow
    return tuple(steps)


def treads(points: Sequence[Point]) -> tuple[tuple[int, ...], ...]:
    """Measured widths that take equally long, as far as can be measured, the widest first; one tuple a tread."""
    rows: list[list[int]] = [[p.kept] for p in sorted(points, key=lambda p: -p.kept) if p.latency_ms is not None][:1]
    for step in staircase(points):
        if step.buys:
            rows.append([step.narrow])
        else:
            rows[-1].append(step.narrow)
    return tuple(tuple(row) for row in rows)


def _time(point: Point) -> float:
    assert point.latency_ms is not None
    return point.latency_ms


def _low(point: Point) -> float:
    return _time(point) if point.latency_low is None else point.latency_low


def _high(point: Point) -> float:
    return _time(point) if point.latency_high is None else point.latency_high
