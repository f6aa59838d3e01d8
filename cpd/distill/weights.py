"""What a loss counts, now and later in the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpd.errors import RunError

_NAMES = ("from", "to", "begin", "end")


@dataclass(frozen=True)
class Weight:
    """`start` up to share `begin` of the run, `stop` from share `end` on, on a straight line in between."""

    start: float
    stop: float
    begin: float = 0.0
    end: float = 1.0

    def at(self, step: int, total: int) -> float:
        """The weight of step number `step`, counted from 0, of `total`; the last step has the last weight."""
        done = step / max(1, total - 1)
        if self.end <= self.begin:
            return self.stop if done >= self.end else self.start
        way = min(1.0, max(0.0, (done - self.begin) / (self.end - self.begin)))
        return (1.0 - way) * self.start + way * self.stop

    @property
    def counts(self) -> bool:
        """Whether it is ever above 0."""
        return max(self.start, self.stop) > 0

    @staticmethod
    def of(name: str, value: Any) -> Weight:
        """1.0, or {"from": 1.0, "to": 0.2}, there also "begin" and "end", the shares of the run between which it moves.

        Raises:
            RunError: anything else.
        """
        if _is_weight(value):
            return Weight(value, value)
        if not isinstance(value, Mapping) or not {"from", "to"} <= set(value) <= set(_NAMES):
            raise RunError(
                f'weight of the loss {name} is {value!r}: give a number of 0 or more, or {{"from": 1, "to": 0.2}}, '
                "with begin and end as shares of the run where it should not take all of it."
            )
        weight = Weight(value["from"], value["to"], value.get("begin", 0.0), value.get("end", 1.0))
        if not all(_is_weight(v) for v in value.values()) or not weight.begin <= weight.end <= 1:
            raise RunError(
                f"weight of the loss {name} is {dict(value)}: from and to are 0 or more, and 0 <= begin <= end <= 1."
            )
        return weight

    @property
    def short(self) -> str:
        """As the command line takes it: 1, or 1:0.2, or 1:0.2:0:0.5 where it does not move over all of the run."""
        parts = [self.start] if self.start == self.stop else [self.start, self.stop]
        parts += [] if len(parts) == 1 or (self.begin, self.end) == (0.0, 1.0) else [self.begin, self.end]
        return ":".join(map(repr, parts))

    @staticmethod
    def parse(text: str) -> Any:
        """The value that `short` stands for; what is no number stays text, for `of` to judge."""
        parts = [_number(part) for part in text.split(":")]
        if len(parts) > len(_NAMES):
            return text
        return parts[0] if len(parts) == 1 else dict(zip(_NAMES, parts, strict=False))

    def __str__(self) -> str:
        if self.start == self.stop:
            return f"{self.start:g}"
        whole = (self.begin, self.end) == (0.0, 1.0)
        between = "" if whole else f" between {self.begin:.0%} and {self.end:.0%} of the run"
        return f"{self.start:g} to {self.stop:g}{between}"


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
