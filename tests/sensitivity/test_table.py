"""The table as a file, and the staircase read from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as hs

from cpd.errors import StorageError
from cpd.sensitivity.staircase import staircase, treads
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable


def timed(kept: int, low: float, ms: float, high: float) -> Point:
    return Point(kept, 0.9, 0.88, 0.92, 500, ms, low, high, 1e6)


TABLE = SensitivityTable(
    model="abc",
    metric="top1",
    dense=0.9,
    images=500,
    batch=32,
    groups={
        "a": GroupSensitivity((timed(8, 1.9, 2.0, 2.1), replace(timed(4, 0, 0, 0), latency_ms=None)), "", ("b",)),
        "b": GroupSensitivity((), "no smaller width is legal"),
    },
    seconds=1.5,
)


def test_a_table_is_read_as_it_was_written(tmp_path):
    TABLE.save(tmp_path / "sensitivity.json")
    assert SensitivityTable.load(tmp_path / "sensitivity.json") == TABLE


@pytest.mark.parametrize("change", [{"schema": 99}, {"groups": {"a": {"points": [{"width": 3}]}}}, {"speed": 1}])
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, change):
    path = tmp_path / "sensitivity.json"
    path.write_text(json.dumps(TABLE.to_dict() | change))
    with pytest.raises(StorageError, match="scan again"):
        SensitivityTable.load(path)
    path.write_text("[]")
    with pytest.raises(StorageError, match="scan again"):
        SensitivityTable.load(path)


def test_steps_that_buy_time_and_steps_that_do_not():
    # 64 and 48 take alike; 32 is faster; 24 and 16 are each within the noise of 32, and 8 at last is not.
    points = [
        timed(64, 9.8, 10.0, 10.2), timed(48, 9.7, 9.9, 10.1), timed(32, 6.8, 7.0, 7.2), timed(24, 6.6, 6.8, 7.0),
        timed(16, 6.4, 6.7, 6.9), timed(8, 6.2, 6.4, 6.6),
    ]  # fmt: skip
    steps = staircase(list(reversed(points)))
    assert [(s.wide, s.narrow, s.buys, s.landing) for s in steps] == [
        (64, 48, False, 64), (48, 32, True, 64), (32, 24, False, 32), (24, 16, False, 32), (16, 8, True, 32),
    ]  # fmt: skip
    assert [round(s.saved_ms, 6) for s in steps] == [0.1, 2.9, 0.2, 0.1, 0.3]
    assert treads(points) == ((64, 48), (32, 24, 16), (8,))


@given(hs.lists(hs.tuples(hs.floats(0.1, 9), hs.floats(0, 1)), max_size=12))
def test_every_timed_width_stands_on_one_tread_and_treads_descend(rows):
    points = [timed(i + 1, ms - off, ms, ms + off) for i, (ms, off) in enumerate(rows)]
    found = treads(points)
    assert [width for tread in found for width in tread] == sorted((p.kept for p in points), reverse=True)
    by_width = {p.kept: p for p in points}
    tops = [by_width[tread[0]] for tread in found]
    assert all(a.latency_low > b.latency_high for a, b in zip(tops, tops[1:], strict=False))


def test_points_without_a_time_have_no_stairs():
    assert staircase([]) == ()
    assert treads([replace(timed(4, 0, 0, 0), latency_ms=None)]) == ()
