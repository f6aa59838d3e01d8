"""On the way to a measured latency: how far each cut goes, and when it is enough.

Latency is not priced as MACs are: at every chance to cut it is measured, and what was measured decides whether the cuts go
on. Between two measurements the network is steered by its MACs: latency is taken to follow a power of them, through the
dense network and the last measurement, and what is missing is spread geometrically over the cuts that are left. Where
passes hardly get faster any more, because operators and not arithmetic take the time, cutting ends before the network is
nothing. All of it is numbers, which go into the checkpoint, so that a resumed run cuts as the uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_FLATTEST, _STEEPEST = 0.25, 1.5  # powers of the MACs that latency is taken to follow
_AIM = 0.97  # of the target is what the last cut aims at: curves flatten, and none would ever arrive
_FAR = 0.5  # a cut after the first leaves so much of the MACs at the least: the power is a guess


@dataclass(frozen=True)
class Timing:
    """A pass of the student and one of the dense network, timed in turn: medians, in milliseconds, of so many passes."""

    student_ms: float
    dense_ms: float
    passes: int


class Pace:
    """One target, such as latency=0.5 (share of the dense network's, timed beside it) or latency_ms=3.

    Args:
        events: planned cuts.
    """

    def __init__(self, name: str, limit: float, events: int) -> None:
        self.name, self.limit, self.events = name, limit, events
        self.timing: Timing | None = None
        self.macs = 1.0  # share of the dense network's that was left when it was timed

    def note(self, timing: Timing, macs: float) -> None:
        self.timing, self.macs = timing, macs

    @property
    def amount(self) -> float:
        """What the target limits, as it was last measured."""
        if self.timing is None:
            return math.inf
        return self.share if self.name == "latency" else self.timing.student_ms

    @property
    def share(self) -> float:
        """Of the dense network's latency."""
        assert self.timing is not None
        return self.timing.student_ms / self.timing.dense_ms

    @property
    def met(self) -> bool:
        return self.amount <= self.limit

    @property
    def least(self) -> float:
        """The MACs below which no cut goes: what the flattest course would take."""
        if self.timing is None:
            return 0.0
        wanted = self.limit if self.name == "latency" else self.limit / self.timing.dense_ms
        return float(min(1.0, wanted) ** (1 / _FLATTEST))

    def settled(self, macs: float) -> bool:
        """Whether nothing is left to cut from a network of these MACs: it was timed, and it is fast enough or spent."""
        return self.timing is not None and abs(macs - self.macs) < 1e-12 and (self.met or macs <= self.least)

    def goal(self, event: int) -> float:
        """Share of the dense MACs after cut number `event`, counted from 1, which follows the last measurement."""
        if self.timing is None or self.met:
            return self.macs
        power = 1.0
        if self.macs < 1 - 1e-9:
            power = math.log(min(self.share, 1.0)) / math.log(self.macs)
            power = min(max(power, _FLATTEST), _STEEPEST)
        left = max(1, self.events - event + 1)
        wanted = self.limit if left > 1 else _AIM * self.limit
        factor = (wanted / self.amount) ** (1 / (left * power))
        if self.macs < 1 - 1e-9:
            factor = max(factor, _FAR)
        return float(max(self.least, self.macs * factor))

    def words(self) -> str:
        """What was measured, beside what is asked for."""
        assert self.timing is not None
        t = self.timing
        wanted = f"{self.limit:.1%}" if self.name == "latency" else f"{self.limit:g} ms"
        return (
            f"a pass at batch 1 takes {t.student_ms:.3g} ms, {self.share:.1%} of the dense network's {t.dense_ms:.3g} ms "
            f"(medians of {t.passes} passes in turn); asked for are {wanted}"
        )

    def shortfall(self, macs: float, because: str = "") -> str:
        """Why a network of these MACs is not what was asked for, "" where it is."""
        if self.timing is None:
            return f"{self.name}={self.limit:g} is not met: the run ended before its first chance to cut."
        if abs(macs - self.macs) > 1e-12:
            return f"{self.name}={self.limit:g} may not be met: the last cut came after the last measurement."
        if self.met:
            return ""
        why = because or "no chance to cut was left"
        if macs <= self.least:
            why = "cutting on hardly helps, operators and not arithmetic take the time"
        return f"{self.words()}: {why}."

    def state(self) -> dict[str, Any]:
        return {"timing": asdict(self.timing) if self.timing is not None else None, "macs": self.macs}

    def load(self, state: Mapping[str, Any]) -> None:
        self.timing = Timing(**state["timing"]) if state["timing"] is not None else None
        self.macs = float(state["macs"])
