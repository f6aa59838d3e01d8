"""What a student's maps were beside the dense model's at every evaluation of its run: when pixels went over. No torch.

Kept in the data of a run's "eval" events, as `history.py` keeps classes, and bounded there: of at most a thousand images
the share of pixels that get another class, two bytes each; every class's IoU; and, up to 32 classes, which class was
taken for which.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpd.measure.history import MOST, Event, IntArray, sample, since

FloatArray = npt.NDArray[np.float64]
APART, CLASSES, CONFUSION = "apart", "classes", "confusion"  # in an event's data
MOST_PIXELS = 1 << 26  # of the images of the sample together, so that two maps of each fit into memory
MOST_CONFUSED = 32  # classes, for the table of which was taken for which
_WHOLE = 0xFFFF


def sample_size(pixels: int) -> int:
    """How many images' maps are compared, where one has so many pixels."""
    return max(1, min(MOST, MOST_PIXELS // max(1, pixels)))


def event_data(
    apart: FloatArray, classes: Sequence[float | None], confusion: IntArray | None
) -> dict[str, str | list[float | None]]:
    """For the data of an event.

    Args:
        apart: (K,) share of each image's pixels, 0..1.
        classes: (C,) IoU of each, None for one that occurs nowhere.
        confusion: (C, C) pixels of class row taken for class column.
    """
    found: dict[str, str | list[float | None]] = {
        APART: _text((apart * _WHOLE).round(), "<u2"),
        CLASSES: [None if value is None else round(value, 5) for value in classes],
    }
    if confusion is not None and len(confusion) <= MOST_CONFUSED:
        found[CONFUSION] = _text(confusion, "<u8")
    return found


def _text(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def _numbers(text: Any, kind: str) -> npt.NDArray[Any] | None:
    try:
        raw = base64.b64decode(text, validate=True)
        return np.frombuffer(raw, kind)
    except (binascii.Error, ValueError, TypeError):
        return None


@dataclass(frozen=True, eq=False)
class MapHistory:
    """Maps over a run, beside the dense model's.

    Attributes:
        numbers: (K,) of the images.
        steps: (E,) of the evaluations, ascending.
        apart: (E, K) share of an image's pixels that get another class.
        classes: (E, C) IoU; NaN for a class that occurs nowhere.
        confusion: (E, C, C) pixels of class row taken for class column, over all held-out images; None for many classes.
    """

    numbers: IntArray
    steps: IntArray
    apart: FloatArray
    classes: FloatArray
    confusion: IntArray | None

    @staticmethod
    def of(events: Sequence[Event], images: int, classes: int) -> MapHistory | None:
        """From a run's events; None where no evaluation kept maps of so many images and classes."""
        rows: dict[int, tuple[FloatArray, FloatArray, IntArray | None]] = {}
        for event in events:
            row = _row(event.data, classes) if event.kind == "eval" else None
            if row is not None and 0 < len(row[0]) <= images:
                rows[event.step] = row
        if not rows:
            return None
        steps = sorted(rows)
        size = len(rows[steps[-1]][0])
        steps = [step for step in steps if len(rows[step][0]) == size]
        tables = [table for step in steps if (table := rows[step][2]) is not None]
        return MapHistory(
            sample(images, size),
            np.array(steps, np.int64),
            np.stack([rows[step][0] for step in steps]),
            np.stack([rows[step][1] for step in steps]),
            np.stack(tables) if len(tables) == len(steps) else None,
        )

    def changed_at(self) -> IntArray:
        """(K,) step of the evaluation from which at least half of the pixels that an image has lost at the end are other
        ones, until the end; -1 for an image that ends as it was."""
        last = self.apart[-1]
        return since(self.steps, (self.apart >= last / 2) & (last > 0))

    def lost_at(self, dense: FloatArray) -> IntArray:
        """(C,) step of the evaluation from which a class is at least half of its loss at the end below the dense model's IoU,
        until the end; -1 for one that ends no lower."""
        loss = np.nan_to_num(dense - self.classes)
        return since(self.steps, (loss >= loss[-1] / 2) & (loss[-1] > 0))

    def confused_since(self, dense: IntArray, true: int, taken: int) -> int | None:
        """Step of the evaluation from which more pixels of class `true` are taken for `taken` than by the dense model
        ((C, C) pixels), by at least half of what there are more at the end; None where that is not known."""
        if self.confusion is None:
            return None
        more = self.confusion[:, true, taken] - dense[true, taken]
        found = since(self.steps, ((more > 0) & (more >= more[-1] / 2))[:, None])
        return None if found[0] < 0 else int(found[0])


def _row(data: Mapping[str, Any], classes: int) -> tuple[FloatArray, FloatArray, IntArray | None] | None:
    apart, values = _numbers(data.get(APART), "<u2"), data.get(CLASSES)
    if apart is None or not isinstance(values, list) or len(values) != classes:
        return None
    try:
        each = np.array([np.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError):
        return None
    table = _numbers(data.get(CONFUSION), "<u8")
    whole = None if table is None or len(table) != classes**2 else table.astype(np.int64).reshape(classes, classes)
    return apart / _WHOLE, each, whole
