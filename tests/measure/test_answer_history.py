"""When answers changed, by hand; what is kept of them; and a real run that keeps them, interrupted or not."""

from __future__ import annotations

import numpy as np
import pytest

from cpd.measure.history import MOST, History, packed, sample, unpacked, window
from cpd.runs.store import Event


def test_the_sample_is_even_and_whole_where_it_can_be():
    assert sample(5).tolist() == [0, 1, 2, 3, 4]
    many = sample(50_000)
    assert len(many) == MOST
    assert (many[0], many[-1]) == (0, 49_999)
    assert set(np.diff(many).tolist()) <= {50, 51}
    assert len(sample(MOST + 1)) == MOST


@pytest.mark.parametrize(("classes", "size"), [(10, 4), (256, 4), (1000, 8)])
def test_answers_are_packed_and_unpacked(classes, size):
    answers = np.array([0, 1, classes - 1, 5])
    text = packed(answers)
    assert unpacked(text, 4).tolist() == answers.tolist()
    import base64

    assert len(base64.b64decode(text)) == size
    for broken in ("", "???", text[:-4], packed(np.zeros(5, np.int64))):
        assert unpacked(broken, 4) is None


def event(number: int, step: int, kind: str, **data) -> Event:
    return Event(number, step, kind, f"{kind} {number}", data, 0.0)


DENSE, TARGETS = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2])
#      step 10, 20, 30: image 0 flips and stays; 1 comes back; 2 flips, returns, flips; 3 flips last; 4 never
ROWS = {10: [1, 2, 0, 1, 2], 20: [1, 0, 1, 1, 2], 30: [2, 0, 0, 0, 2]}
EVENTS = [
    event(1, 5, "cut", group="a"), event(2, 10, "eval", answers=packed(np.array(ROWS[10]))), event(3, 20, "cut", group="b"), event(4, 20, "cut", group="c"),
    event(5, 20, "eval", answers=packed(np.array(ROWS[20]))), event(6, 25, "cut", group="a"), event(7, 30, "eval", answers=packed(np.array(ROWS[30]))),
    event(8, 30, "eval", metric=0.5),
]  # fmt: skip


def test_when_an_answer_changed_by_hand():
    history = History.of(EVENTS, 5)
    assert history.steps.tolist() == [10, 20, 30]
    assert history.changed_at(DENSE).tolist() == [10, -1, 30, 30, -1]
    apart, lost = history.differing(DENSE, TARGETS)
    assert apart.tolist() == [3, 1, 3]
    assert lost.tolist() == [2, 1, 3]  # of image 1 the dense model was wrong
    # class 1 (images 1, 2, 3) taken for 0: image 1 by the dense model; one at step 10, one at 20, three at 30
    assert history.confused_since(DENSE, TARGETS, 1, 0) == 30
    assert history.confused_since(DENSE, TARGETS, 0, 2) == 30
    assert history.confused_since(DENSE, TARGETS, 2, 0) is None
    assert History.of(EVENTS, 6) is None  # of other images
    assert History.of([EVENTS[0]], 5) is None


def test_what_was_cut_in_between():
    steps = np.array([10, 20, 30])
    first, second, third = (window(EVENTS, steps, step) for step in (10, 20, 30))
    assert (first.after, first.groups) == (-1, ("a",))
    assert (second.after, second.groups, second.cuts) == (10, ("b", "c"), ("cut 3", "cut 4"))
    assert (third.after, third.groups) == (20, ("a",))
