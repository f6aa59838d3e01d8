"""A number with what is known of its error: measured, or estimated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """One quantity of a plan.

    Attributes:
        value, low, high: in the quantity's own unit (milliseconds, or 0..1 for accuracy and mIoU); `low` to `high` is a
            90 % interval.
        measured: whether `value` was measured on the network itself; screens show an estimate paler and with its interval.
        how: in words, where value and interval come from.
    """

    value: float
    low: float
    high: float
    measured: bool
    how: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"an estimate lies inside its interval, got {self.low} <= {self.value} <= {self.high}")
