"""What the store gives back: a run, an event, a series of a metric; and what every state of a run means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpd.runs.spec import RunSpec

MEANING = {
    "queued": "It waits for its turn.",
    "running": "A worker is at it.",
    "pausing": "It saves a checkpoint at its next step and pauses.",
    "stopping": "It saves a checkpoint at its next step and stops.",
    "paused": "It is paused with a checkpoint and keeps its place in the queue; resume it to go on.",
    "stopped": "It was stopped, with a checkpoint; it can be resumed.",
    "finished": "It is done, and its result is there.",
    "failed": "It ended with an error.",
}
STATES = tuple(MEANING)
UNFINISHED = ("queued", "running", "pausing", "stopping")
ASKED = ("pausing", "stopping")  # a worker is at it and was told to leave


@dataclass(frozen=True)
class Run:
    """One row: what a run is and how far it is. Times are seconds since 1970, 0 for never.

    Attributes:
        state: one of STATES. "running" with a free lock means that the worker died; the supervisor restarts it.
        attempts: launches since the run last got further.
        error: why it failed, one plain sentence; "" otherwise.
        place: in the queue; the least goes first.
        halvings: how often it ran out of memory and went on with half as many images at a time.
        note: what somebody wrote about it; "" for nothing.
        pace_s: seconds a step takes, by the worker's own clock that never jumps; 0 while it is unknown.
    """

    id: str
    spec: RunSpec
    state: str
    created: float
    launched: float
    started: float
    finished: float
    updated: float
    stop_asked: float
    not_before: float
    attempts: int
    step: int
    total: int
    error: str
    place: float = 0.0
    halvings: int = 0
    pace_s: float = 0.0
    note: str = ""

    @property
    def project(self) -> str:
        return self.spec.project

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def is_over(self) -> bool:
        """Nobody is at it and nobody will be, until somebody resumes it."""
        return self.state not in UNFINISHED


@dataclass(frozen=True)
class Event:
    """Something that happened at a step. `number` rises with every new event of any run."""

    number: int
    step: int
    kind: str
    text: str
    data: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class Series:
    """One metric over steps, ascending."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
