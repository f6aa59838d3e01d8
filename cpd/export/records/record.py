"""What an exporter is given: names, numbers and files of one run. No torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Metrics = Mapping[str, tuple[Sequence[int], Sequence[float]]]


@dataclass(frozen=True)
class Record:
    """One run as it stands in the store.

    Attributes:
        name: id of the run; `project` "" for one outside any.
        started, finished: seconds since 1970; 0 where it has not come to that.
        parameters: how it was done, as text by name.
        metrics: name -> (steps, values), whole.
        events: step, time, kind, text and data of each, in order.
        files: what it left that is worth keeping beside the numbers, by the name it gets.
    """

    name: str
    project: str
    kind: str
    state: str
    started: float
    finished: float
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    def clock(self) -> Clock:
        steps = [step for at, _ in self.metrics.values() for step in (at[0], at[-1]) if at]
        return Clock(self.started, self.finished, self.events, max(steps, default=0))


class Clock:
    """When each step was done. Metrics carry no time, but events do, and start and end are known: between two of them
    steps are taken to last equally long."""

    def __init__(self, started: float, finished: float, events: Sequence[Mapping[str, Any]], last: int) -> None:
        latest: dict[int, float] = {0: started}
        for event in events:
            latest[int(event["step"])] = max(latest.get(int(event["step"]), 0.0), float(event["time"]))
        latest[last] = max(latest.get(last, 0.0), finished)
        self._steps, self._times = [], [started]
        for step, at in sorted(latest.items()):
            self._steps.append(step)
            self._times.append(max(at, self._times[-1]))  # a clock that was put back on the way makes no step earlier
        del self._times[0]

    def __call__(self, step: int) -> float:
        """Seconds since 1970."""
        after = bisect_right(self._steps, step)
        if after == 0 or after == len(self._steps):
            return self._times[max(0, after - 1)]
        (s0, s1), (t0, t1) = self._steps[after - 1 : after + 1], self._times[after - 1 : after + 1]
        return t0 + (t1 - t0) * (step - s0) / (s1 - s0)


class Exporter(Protocol):
    """Writes a record to a place; says where it is now."""

    def __call__(self, record: Record, place: str) -> str: ...
