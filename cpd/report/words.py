"""Numbers as a reader takes them in: no more digits than were measured, and their uncertainty beside them."""

from __future__ import annotations

from cpd.measure.answers import LEVEL, wilson
from cpd.measure.measurement import Latency, Measurement

NBSP = "\u00a0"  # a number and its unit stay on one line


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}{NBSP}%"


def share_range(low: float, high: float, digits: int = 1) -> str:
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}{NBSP}%"


def points(change: float) -> str:
    """A change of a share in percentage points, always signed: "−1.3 points"."""
    return f"{_signed(change)} points"


def points_range(low: float, high: float) -> str:
    return f"{_signed(low)} to {_signed(high)} points"


def loss(change: float) -> str:
    """The size of a change, whatever its sign: "1.3 points"."""
    return points(abs(change))[1:] if round(100 * change, 2) else points(0.0)


def _signed(change: float) -> str:
    value = 100 * change
    digits = 2 if 0 < abs(value) < 0.05 else 1  # a change that is there must not read as none
    text = f"{round(value, digits) + 0.0:+.{digits}f}"
    return ("0" if float(text) == 0 else text).replace("-", "\u2212")


def times(factor: float) -> str:
    """1.83 -> "1.83×"."""
    return f"{factor:.2f}\u00d7" if factor < 10 else f"{factor:.1f}\u00d7"


def milliseconds(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{NBSP}ms"


def big(value: float) -> str:
    """12_345_678 -> "12.3 million"."""
    for limit, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if abs(value) >= limit:
            scaled = value / limit
            return f"{scaled:.0f} {word}" if scaled >= 100 else f"{scaled:.1f} {word}"
    return f"{value:,.0f}"


def size(parameters: int) -> str:
    """Bytes of float32 parameters, in MB of a million bytes, or kB of a thousand where that would read 0.0."""
    if 4 * parameters < 1e5:
        return f"{4 * parameters / 1e3:.1f}{NBSP}kB"
    return f"{4 * parameters / 1e6:.1f}{NBSP}MB"


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def quality_interval(found: Measurement) -> str:
    """What the number of images leaves open about an accuracy; "" for a metric that is no share of images."""
    if found.metric != "top1" or found.quality is None:
        return ""
    low, high = wilson(found.quality, found.images)
    return f"{share_range(low, high)} ({LEVEL:.0%} interval, {found.images:,} images)"


def spread(row: Latency) -> str:
    """The middle of the timed passes."""
    return f"8 of 10 passes within {milliseconds(row.p10_ms)} to {milliseconds(row.p90_ms)}"


def passes(batch: int) -> str:
    return "one image at a time" if batch == 1 else f"{batch} images at a time"


def count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
