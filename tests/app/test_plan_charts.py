"""The charts of the Plan screen on their data, and which rows its table shows."""

from __future__ import annotations

import pytest

from app import palette
from app.charts.plan_diff import X, Y, plan_difference
from app.charts.ratios import Ratio, ratio_by_depth
from app.outlook import interval
from app.widgets.plan_selection import touched
from app.widgets.plan_table import visible

ROWS = [
    Ratio("stage0.a", 10, 5, 0.5, True),
    Ratio("stage0.b", 16, 8, 0.45, True, "rounded"),
    Ratio("stage1.c", 4, 4, 0.5, False, "it is the output"),
    Ratio("stage1.d", 8, 8, 0.0, True),
]


def named(fig, name):
    return next((trace for trace in fig.data if trace.name == name), None)


def test_every_group_that_may_be_cut_can_be_taken_hold_of_and_says_its_name():
    fig = ratio_by_depth(ROWS, selected={"stage1.d"}, held={"stage0.b"})
    handles = named(fig, "take hold here")
    assert (list(handles.x), list(handles.y)) == ([0, 1, 3], [0.5, 0.5, 0.0])
    assert [data[0] for data in handles.customdata] == ["stage0.a", "stage0.b", "stage1.d"]
    assert (list(named(fig, "selected").x), named(fig, "selected").marker.color) == ([3], palette.faded(palette.SELECTION, 0.3))
    assert list(named(fig, "held").x) == [1]
    assert fig.layout.dragmode == "select"
    assert named(ratio_by_depth(ROWS), "selected") is None


def test_a_brush_gives_names_once_whatever_form_their_data_takes():
    points = [{"customdata": ["a", 1]}, {"customdata": {"0": "b"}}, {"customdata": ["a", 1]}, {"x": 3}, {"customdata": [None]}]
    assert touched({"selection": {"points": points}}) == ["a", "b"]
    assert touched({}) == []


def test_two_plans_apart_point_up_where_the_second_cuts_more():
    names = ["a", "b", "c"]
    fig = plan_difference(names, {"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.75, "b": 0.5, "c": 0.0})
    assert [(list(trace.x), list(trace.y), trace.marker.color) for trace in fig.data if len(trace.x)] == [([0], [0.25], palette.CUT)]
    same = plan_difference(names, dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.5))
    assert (same.layout.xaxis.title.text, same.layout.yaxis.title.text) == (X, Y) == (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text)


@pytest.mark.parametrize(
    "words, which, shown",
    [
        ("", "All", "a b c d"), ("STAGE0", "All", "a b"), ("stage? .d", "All", "d"), ("b c", "All", ""), ("[", "All", ""),
        ("", "Cut", "a b"), ("", "Held", "b"), ("", "Differs", "b c"), ("", "Locked", "c"), ("", "Selected", "d"), ("stage1", "Locked", "c"),
    ],
)  # fmt: skip
def test_words_and_kinds_choose_rows(words: str, which: str, shown: str):
    found = visible(ROWS, words, which, frozenset({"stage0.b"}), frozenset({"stage1.d"}))
    assert [row.group[-1] for row in found] == shown.split()


def test_the_interval_of_a_share_is_wilsons():
    """None of 10, by hand: the upper end is z² / (n + z²)."""
    low, high = interval(0.0, 10, z=2.0)
    assert (low, high) == (0.0, pytest.approx(4 / 14))
    assert interval(1.0, 400)[1] == 1.0
    assert interval(0.5, 0) == (0.0, 1.0)
