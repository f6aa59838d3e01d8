"""Automatic back-off: which groups rest after a cut that the network could not recover from, and how far the next goes.

A group whose cut was undone is left alone for the next chance to cut, for the next two when it happens again, then four,
... Where a cut took from several groups at once nobody knows which of them was to blame; so every undone cut also halves
how far the next one goes, and every cut that stands doubles it again, up to its old size. All of it is names and
numbers, so that a resumed run backs off as the uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_MOST_HALVINGS = 5


class BackOff:
    """What was undone so far.

    Args:
        corridor: largest loss of the metric against the teacher, 0..1.
        names: groups that can be cut.
    """

    def __init__(self, corridor: float, names: Iterable[str]) -> None:
        self.corridor = corridor
        self.names = frozenset(names)
        self._resting: dict[str, int] = {}  # group -> last event that passes it over
        self._times: dict[str, int] = {}
        self.halvings = 0

    def leaves(self, teacher: float, student: float) -> bool:
        """Whether the student is outside of the corridor."""
        return teacher - student > self.corridor + 1e-9

    def resting(self, event: int) -> frozenset[str]:
        """Groups that are not cut at this event; none where all of them would rest: then the smaller cut has to do."""
        found = frozenset(name for name, last in self._resting.items() if event <= last)
        return frozenset() if found >= self.names else found

    def undone(self, event: int, groups: Iterable[str]) -> None:
        """A cut of these groups was undone; `event` is the next chance to cut."""
        for name in groups:
            self._resting[name] = event + 2 ** self._times.get(name, 0) - 1
            self._times[name] = self._times.get(name, 0) + 1
        self.halvings = min(self.halvings + 1, _MOST_HALVINGS)

    def stood(self) -> None:
        """A cut was good."""
        self.halvings = max(0, self.halvings - 1)

    def goal(self, planned: float, now: float, stride: float) -> float:
        """Share of the dense cost that the next cut goes down to.

        Args:
            planned: where the schedule wants the network to be.
            now: where it is; after an undone cut it lags behind.
            stride: factor from one planned cut to the next, 0..1. A network that lags catches up by two at most.
        """
        return float(max(planned, now * stride ** (2.0 * 0.5**self.halvings)))

    def state(self) -> dict[str, Any]:
        return {"resting": dict(self._resting), "times": dict(self._times), "halvings": self.halvings}

    def load(self, state: Mapping[str, Any]) -> None:
        self._resting = {name: int(last) for name, last in state["resting"].items()}
        self._times = {name: int(times) for name, times in state["times"].items()}
        self.halvings = int(state["halvings"])
