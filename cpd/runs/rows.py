"""What the store gives back: a run, an event, a series of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpd.runs.spec import RunSpec

STATES = ("queued", "running", "stopping", "stopped", "finished", "failed")
UNFINISHED = ("queued", "running", "stopping")


@dataclass(frozen=True)
class Run:
    """One row: what a run is and how far it is. Times are seconds since 1970, 0 for never.

    Attributes:
        state: one of STATES. "running" with a free lock means that the worker died; the supervisor restarts it.
        attempts: launches since the run last got further.
        error: why it failed, one plain sentence; "" otherwise.
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

    @property
    def project(self) -> str:
        return self.spec.project

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def is_over(self) -> bool:
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
