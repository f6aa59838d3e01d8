"""Colours that carry a meaning, the same on every chart and table (Okabe-Ito, safe for colour-blind readers)."""

from __future__ import annotations

KEPT = "#0072B2"
CUT = "#D55E00"
LOCKED = "#8A8A8A"
STUDENT = "#009E73"
SELECTION = "#E69F00"

# Colours without a meaning of their own, for series that only need telling apart (loss terms, criteria).
SERIES = ("#7A68D8", "#56B4E9", "#CC79A7", "#B0912F", "#4F8A8B", "#A65E2E", "#8DA0CB", "#6B6B6B")


def ink(dark: bool) -> str:
    """The text colour, which the teacher's line takes; the same values as in .streamlit/config.toml."""
    return "#ECEDF3" if dark else "#1C1D26"


def on_paper(colour: str, opacity: float, dark: bool) -> str:
    """What `colour` at an opacity of 0..1 looks like on the background, as a solid colour: nothing shines through."""
    pairs = [(int(colour[i : i + 2], 16), int(paper(dark)[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * a + (1 - opacity) * b):02X}" for a, b in pairs)


def paper(dark: bool) -> str:
    """The background; the same values as in .streamlit/config.toml."""
    return "#13141B" if dark else "#FFFFFF"


def grid(dark: bool) -> str:
    """Lines that must stay behind the data."""
    return "#2E313D" if dark else "#E9EAF0"


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
    mixed = [
        round(int(a[i : i + 2], 16) * (1 - part) + int(b[i : i + 2], 16) * part) for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02X}" for channel in mixed)
