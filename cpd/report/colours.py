"""Colours that carry a meaning, the same on every screen, chart and report (Okabe-Ito, safe for colour-blind readers)."""

from __future__ import annotations

KEPT = "#0072B2"
CUT = "#D55E00"
LOCKED = "#8A8A8A"
STUDENT = "#009E73"
SELECTION = "#E69F00"

# Colours without a meaning of their own, for series that only need telling apart (loss terms, criteria).
SERIES = ("#7A68D8", "#56B4E9", "#CC79A7", "#B0912F", "#4F8A8B", "#A65E2E", "#8DA0CB", "#6B6B6B")

INK, PAPER, GRID = "#1C1D26", "#FFFFFF", "#E9EAF0"
"""Text, which the teacher takes, background, and lines that stay behind the data: on light paper."""
DARK_INK, DARK_PAPER, DARK_GRID = "#ECEDF3", "#13141B", "#2E313D"
