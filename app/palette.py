"""Colours on screen, in light and in dark; those that carry a meaning are the reports' own."""

from __future__ import annotations

from cpd.report.colours import (
    CUT,
    DARK_GRID,
    DARK_INK,
    DARK_PAPER,
    GRID,
    INK,
    KEPT,
    LOCKED,
    PAPER,
    SELECTION,
    SERIES,
    STUDENT,
)

__all__ = [
    "CUT",
    "KEPT",
    "LOCKED",
    "SELECTION",
    "SERIES",
    "STUDENT",
    "blend",
    "faded",
    "grid",
    "ink",
    "on_paper",
    "paper",
    "scale",
]


def ink(dark: bool) -> str:
    """The text colour, which the teacher's line takes; the same values as in .streamlit/config.toml."""
    return DARK_INK if dark else INK


def on_paper(colour: str, opacity: float, dark: bool) -> str:
    """What `colour` at an opacity of 0..1 looks like on the background, as a solid colour: nothing shines through."""
    pairs = [(int(colour[i : i + 2], 16), int(paper(dark)[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * a + (1 - opacity) * b):02X}" for a, b in pairs)


def paper(dark: bool) -> str:
    """The background; the same values as in .streamlit/config.toml."""
    return DARK_PAPER if dark else PAPER


def grid(dark: bool) -> str:
    """Lines that must stay behind the data."""
    return DARK_GRID if dark else GRID


def faded(colour: str, opacity: float) -> str:
    """`colour` ("#RRGGBB") with an opacity of 0..1, as CSS."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def scale(colour: str, dark: bool) -> list[list[float | str]]:
    """A one-hue Plotly colour scale from the page's background to `colour`, for heat maps."""
    paper = "#1E2029" if dark else "#F3F4F8"
    return [[0.0, paper], [0.5, blend(paper, colour, 0.5)], [1.0, colour]]


def blend(a: str, b: str, part: float) -> str:
    """The colour `part` of the way from `a` to `b`."""
    mixed = [round(int(a[i : i + 2], 16) * (1 - part) + int(b[i : i + 2], 16) * part) for i in (1, 3, 5)]
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
