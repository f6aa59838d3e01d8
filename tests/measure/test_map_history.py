"""When pixels went over, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cpd.measure.history import window
from cpd.measure.map_history import APART, CLASSES, CONFUSION, MapHistory, event_data
from cpd.runs.store import Event

#          image 0 goes at step 30; 1 at 10 and stays; 2 at 20, comes back at 30, goes at 40; 3 never
APART_OF = {10: [0.0, 0.4, 0.0, 0.1], 20: [0.1, 0.3, 0.5, 0.2], 30: [0.3, 0.5, 0.1, 0.1], 40: [0.4, 0.5, 0.6, 0.0]}
CLASSES_OF = {10: [0.9, 0.5, None], 20: [0.5, 0.6, None], 30: [0.4, 0.7, None], 40: [0.3, 0.7, None]}
DENSE = np.array([0.9, 0.6, np.nan])
TAKEN = {10: 2, 20: 9, 30: 6, 40: 12}  # pixels of class 0 for class 1; the dense model 4


def events() -> list[Event]:
    found = []
    for number, step in enumerate(APART_OF):
        table = np.zeros((3, 3), np.int64)
        table[0, 1] = TAKEN[step]
        found.append(
            Event(number, step, "eval", "", event_data(np.array(APART_OF[step]), CLASSES_OF[step], table), 0.0)
        )
    return found


def test_when_pixels_changed_by_hand():
    found = MapHistory.of([*events(), Event(9, 40, "eval", "", {"metric": 0.5}, 0.0)], 4, 3)
    assert found is not None
    assert found.steps.tolist() == [10, 20, 30, 40]
    assert np.allclose(found.apart, list(APART_OF.values()), atol=1e-5)
    assert found.changed_at().tolist() == [30, 10, 40, -1]  # half of 0.4 is reached at 30, half of 0.6 for good at 40
    assert found.lost_at(DENSE).tolist() == [20, -1, -1]  # 0.4 of 0.6 is lost at 20; class 1 gained
    dense = np.zeros((3, 3), np.int64)
    dense[0, 1] = 4
    assert found.confused_since(dense, 0, 1) == 40  # 8 more at the end, 5 at step 20, 2 at 30
    assert found.confused_since(dense, 1, 0) is None


@pytest.mark.parametrize(
    "break_", [{APART: "???"}, {APART: 3}, {CLASSES: [0.5]}, {CLASSES: ["x", 1, 2]}, {CLASSES: None}]
)
def test_what_is_damaged_is_left_out(break_):
    rows = events()
    for row in rows:
        row.data.update(break_)  # type: ignore[attr-defined]
    assert MapHistory.of(rows, 4, 3) is None
    assert MapHistory.of(events(), 3, 3) is None  # of other images
    assert MapHistory.of(events(), 4, 5) is None
    damaged = events()
    damaged[1].data[CONFUSION] = "AAAA"  # type: ignore[index]
    found = MapHistory.of(damaged, 4, 3)
    assert found is not None
    assert found.confusion is None
    assert found.confused_since(np.zeros((3, 3), np.int64), 0, 1) is None


def test_cuts_between_two_evaluations_are_named_by_their_numbers():
    def event(step: int, kind: str, **data: object) -> Event:
        return Event(0, step, kind, kind, data, 0.0)

    told = [event(2, "cut", group="a"), event(4, "cut", group="b"), event(6, "undo", cut_step=4), event(6, "cut", group="c"), event(8, "cut", group="d"), event(12, "cut", group="e"), event(21, "undo", cut_step=12)]  # fmt: skip
    steps = np.array([3, 5, 10, 20, 30])
    found = [window(told, steps, int(step)) for step in steps]
    assert [each.words for each in found] == ["cut 1", "cut 2", "cuts 3 to 4", "cut 5", "no cut"]
    assert found[2].groups == ("c", "d")
    assert (
        window(told, np.array([10]), 10).words == "cuts 1, 3, 4"
    )  # the second was undone before anything was evaluated
