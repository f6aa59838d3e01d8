"""Numbers as a person reads them: three figures, a unit, and never a digit that was not measured."""

from __future__ import annotations

from datetime import datetime

DASH = "–"


def count(value: float, unit: str = "") -> str:
    """12_345_678 -> "12.3 M", or "12.3 M MACs" with a unit; below ten thousand every digit is shown."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if letter == "k" else limit)
            return f"{three(scaled)} {letter}" + ("B" if unit == "B" else f" {unit}" if unit else "")
    return f"{value:,.0f} {unit}".rstrip()


def three(value: float) -> str:
    """Three significant figures, without an exponent."""
    size = abs(value)
    if size >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 -> "12.3 %"."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of two accuracies, in percentage points, always signed."""
    return f"{round(100 * difference, 2) + 0.0:+.2f} pts"  # adding 0.0 turns -0.0 into 0.0


def milliseconds(value: float | None) -> str:
    return DASH if value is None else f"{three(value)} ms"


def times(value: float) -> str:
    """2.345 -> "2.35×"."""
    return f"{three(value)}×"


def duration(seconds: float) -> str:
    """95 -> "1 min 35 s"."""
    whole = int(round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(number: int, word: str, words: str = "") -> str:
    """1 -> "1 group", 3 -> "3 groups"."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def when(timestamp: float) -> str:
    """Seconds since the epoch as local date and time."""
    return datetime.fromtimestamp(timestamp).strftime("%d %b %Y, %H:%M")
