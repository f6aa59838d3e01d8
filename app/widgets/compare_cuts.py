"""Cuts between evaluations in words: which ones a change came after, and what cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from app.charts.training import CUT, Mark
from app.numbers import plural
from cpd.measure.history import IntArray, window
from cpd.runs.store import Event

_NAMED = 2  # groups


def after(events: Sequence[Event], steps: IntArray, step: int) -> str:
    """ "cuts 3 to 5 (layer1.0.conv1, layer2.0.conv1 and 3 more)": what lies between the evaluation of `step` and the one before."""
    found = window(events, steps, step)
    if not found.groups:
        return found.words
    more = len(found.groups) - _NAMED
    return f"{found.words} ({', '.join(found.groups[:_NAMED])}{f' and {more} more' if more > 0 else ''})"


def cut_marks(events: Sequence[Event]) -> list[Mark]:
    return [Mark(event.step, event.text, CUT) for event in events if event.kind == "cut"]


def measured_at(events: Sequence[Event], steps: IntArray, kept: int, images: int) -> str:
    """What the figures rest on, and how near they come to a single cut."""
    text = ("All " if kept == images else f"An even sample of {kept:,} of the ") + f"{plural(images, 'held-out image')}, at {plural(len(steps), 'evaluation')}. "
    together = sum(len(window(events, steps, int(step)).numbers) > 1 for step in steps)
    if not together:
        return text + "Every cut was followed by an evaluation before the next."
    at = sorted({event.step for event in events if event.kind == "cut"})
    apart = int(median(b - a for a, b in zip(at, at[1:], strict=False)))
    where = "one place" if together == 1 else f"{together} places"
    return text + (f"In {where} nothing was evaluated between two or more cuts: a change there came with one of those named, or with the training between them. "
                   f"A run that is evaluated every {plural(max(1, apart), 'step')} tells single cuts apart.")  # fmt: skip
