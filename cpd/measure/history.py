"""What a student answered to the same held-out images at every evaluation of its run: when an answer changed for good.

Kept in the data of a run's "eval" events, so that a step that is done again after a crash overwrites what it wrote, and
a run that goes on from a checkpoint of another begins with what that one had recorded. No torch.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
MOST = 1000  # images whose answers are kept, spread evenly over the held-out ones
KEY = "answers"  # in an event's data


class Event(Protocol):
    """As in the run store."""

    @property
    def step(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


def sample(images: int, most: int = MOST) -> IntArray:
    """Numbers of the images that are kept of `images`, ascending: `most` of them, or all."""
    return np.unique(np.linspace(0, images - 1, min(images, most)).round().astype(np.int64))


def packed(answers: npt.NDArray[np.integer[Any]]) -> str:
    """Classes of the sample as text: base64 of unsigned bytes, or of little-endian pairs of them for many classes."""
    return base64.b64encode(answers.astype("<u1" if answers.max(initial=0) < 256 else "<u2").tobytes()).decode("ascii")


def unpacked(text: str, size: int) -> IntArray | None:
    """What `packed` was given; None where it is not of `size` images."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if size == 0 or len(raw) not in (size, 2 * size):
        return None
    return np.frombuffer(raw, "<u1" if len(raw) == size else "<u2").astype(np.int64)


@dataclass(frozen=True, eq=False)
class History:
    """Answers over a run.

    Attributes:
        numbers: (K,) of the images.
        steps: (E,) of the evaluations, ascending.
        answers: (E, K) classes.
    """

    numbers: IntArray
    steps: IntArray
    answers: IntArray

    @staticmethod
    def of(events: Sequence[Event], images: int) -> History | None:
        """From a run's events; None where no evaluation kept answers to these many images."""
        numbers = sample(images) if images > 0 else np.zeros(0, np.int64)
        rows: dict[int, IntArray] = {}
        for event in events:
            if event.kind == "eval" and isinstance(event.data.get(KEY), str):
                found = unpacked(event.data[KEY], len(numbers))
                if found is not None:
                    rows[event.step] = found
        if not rows:
            return None
        steps = sorted(rows)
        return History(numbers, np.array(steps, np.int64), np.stack([rows[step] for step in steps]))

    def changed_at(self, dense: IntArray) -> IntArray:
        """(K,) step of the evaluation from which an answer differs from the dense model's until the end; -1 where it ends
        as it was.

        Args:
            dense: (N,) the dense model's answers to all held-out images.
        """
        return since(self.steps, self.answers != dense[self.numbers])

    def differing(self, dense: IntArray, targets: IntArray) -> tuple[IntArray, IntArray]:
        """(E,) how many answers of the sample differ from the dense model's, and how many of these were right before."""
        was = dense[self.numbers]
        apart = self.answers != was
        return apart.sum(1), (apart & (was == targets[self.numbers])).sum(1)

    def confused_since(self, dense: IntArray, targets: IntArray, true: int, taken: int) -> int | None:
        """Step of the evaluation from which more images of class `true` are taken for `taken` than by the dense model,
        until the end; None where the sample does not show that."""
        of = targets[self.numbers] == true
        before = int((dense[self.numbers][of] == taken).sum())
        found = since(self.steps, ((self.answers[:, of] == taken).sum(1) > before)[:, None])
        return None if found[0] < 0 else int(found[0])


def since(steps: IntArray, holds: npt.NDArray[np.bool_]) -> IntArray:
    """Per column of `holds` (E, K) the step of the first row of its last unbroken stretch of True, -1 where the last row is
    False."""
    # Rows from the end for which it has held without a break.
    lasting = np.logical_and.accumulate(holds[::-1], axis=0).sum(0)
    first = np.minimum(len(steps) - lasting, len(steps) - 1)
    return np.where(lasting > 0, steps[first], -1)


@dataclass(frozen=True)
class Window:
    """Between two evaluations.

    Attributes:
        after: step of the one before, -1 for the beginning of the run.
        cuts: what went in between and stood, in the words of the run; groups by name.
        numbers: of these cuts, counted over the run from 1; groups that go at one step are one cut.
    """

    after: int
    step: int
    cuts: tuple[str, ...]
    groups: tuple[str, ...]
    numbers: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """ "cut 7", "cuts 12 to 15", "no cut"."""
        if not self.numbers:
            return "no cut"
        if len(self.numbers) == 1:
            return f"cut {self.numbers[0]}"
        run = self.numbers == tuple(range(self.numbers[0], self.numbers[-1] + 1))
        return f"cuts {self.numbers[0]} to {self.numbers[-1]}" if run else f"cuts {', '.join(map(str, self.numbers))}"


def window(events: Sequence[Event], steps: IntArray, step: int) -> Window:
    """What was cut between the evaluation of `step` and the one before, and not undone by then. A cut of the same step comes
    before its evaluation."""
    before = steps[steps < step]
    after = int(before[-1]) if len(before) else -1
    undone = {event.data.get("cut_step") for event in events if event.kind == "undo" and event.step <= step}
    taken = [event for event in events if event.kind == "cut"]
    number = {at: n for n, at in enumerate(sorted({event.step for event in taken}), 1)}
    cuts = [event for event in taken if after < event.step <= step and event.step not in undone]
    groups = dict.fromkeys(str(event.data.get("group", "")) for event in cuts)
    return Window(
        after,
        step,
        tuple(event.text for event in cuts),
        tuple(name for name in groups if name),
        tuple(sorted({number[event.step] for event in cuts})),
    )
