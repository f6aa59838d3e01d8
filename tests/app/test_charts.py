"""Chart functions on their data: what is drawn, in which colour, and that empty data gives the same axes."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

from app import palette
from app.charts import architecture as picture
from app.charts import importance, ratios, training
from app.layers import LOCKED, PRUNABLE, Layer, layers, sections, state_of
from app.tables import groups_table, positions, slices_table
from cpd.prune.cost import CostModel


def named(fig, name):
    return next(trace for trace in fig.data if trace.name == name)


def chain_layers(**kind):
    record = synthetic.chain(**kind)
    cost = CostModel(record)
    return record, layers(record, cost.operator_macs(cost.sizes(cost.dead({}))))


def test_layers_are_the_weights_in_forward_order_with_their_cost():
    record, found = chain_layers(widths=(8, 16, 32))
    assert [(layer.module, layer.width) for layer in found] == [("stage0.conv0", 8), ("stage0.conv1", 16), ("stage1.conv0", 32), ("head", 10)]
    assert sum(layer.macs for layer in found) == synthetic.macs_by_hand((8, 16, 32))
    assert found[0].groups == ("stage0.conv0",)
    assert found[-1].groups == ()


def test_architecture_colours_what_may_be_pruned_what_is_locked_and_what_is_selected():
    record, found = chain_layers(widths=(8, 16, 16, 32), locked=(1,))
    states = {group.name: state_of(group) for group in record.groups}
    fig = picture.architecture(found, states, "stage1.conv0")
    by_colour = {trace.marker.color: dict(zip(trace.x, trace.y, strict=True)) for trace in fig.data}
    assert by_colour == {palette.KEPT: {0: 8, 3: 32}, palette.LOCKED: {1: 16, 4: 10}, palette.SELECTION: {2: 16}}
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == (picture.X, picture.Y)


def test_architecture_of_a_grouped_layer_selects_a_group_that_can_be_pruned():
    layer = Layer("attn.qkv", "linear", 96, 1e6, ("locked one", "heads"))
    fig = picture.architecture([layer], {"locked one": LOCKED, "heads": PRUNABLE})
    assert fig.data[0].customdata[0][3] == "heads"
    assert fig.data[0].marker.color == palette.KEPT


def test_three_hundred_layers_are_three_traces():
    found = [Layer(f"blocks.{i}.fc", "linear", 64, 1.0, (f"g{i}",)) for i in range(300)]
    fig = picture.architecture(found, {f"g{i}": LOCKED if i % 7 == 0 else PRUNABLE for i in range(300)}, "g1")
    assert len(fig.data) == 3
    assert sum(len(trace.x) for trace in fig.data) == 300


@pytest.mark.parametrize(
    ("fig", "x", "y"),
    [
        (picture.architecture([], {}), picture.X, picture.Y),
        (ratios.ratio_by_depth([]), ratios.X, ratios.Y),
        (importance.sorted_curves({}), importance.RANK, importance.RELATIVE),
        (training.over_steps([], "Loss"), training.STEP, "Loss"),
        (training.width_map({}, {}, 1), training.STEP, "Groups in forward order"),
    ],
)
def test_empty_data_keeps_the_axes_and_says_what_is_missing(fig, x, y):
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == (x, y)
    assert not fig.data
    assert fig.layout.annotations[0].text


def test_ratio_chart_shows_granted_bars_locks_and_requests_that_differ():
    rows = [
        ratios.Ratio("a", 10, 5, 0.5, True),
        ratios.Ratio("b", 16, 8, 0.45, True, "rounded to a multiple of 8"),
        ratios.Ratio("c", 4, 4, 0.5, False, "it is the output"),
    ]
    fig = ratios.ratio_by_depth(rows)
    granted, locked, asked = named(fig, "granted"), named(fig, "locked"), named(fig, "asked for, where it differs")
    assert dict(zip(granted.x, granted.y, strict=True)) == {0: 0.5, 1: 0.5}
    assert granted.marker.color == palette.CUT
    assert list(locked.x) == [2]
    assert dict(zip(asked.x, asked.y, strict=True)) == {1: 0.45}


def test_sorted_curve_turns_from_kept_to_cut_where_the_plan_cuts():
    scores = {"a": [1.0, 4.0, 2.0, 3.0], "b": [1.0, 1.0]}
    fig = importance.sorted_curves(scores, "a", {"a": 3})
    kept, cut = named(fig, "kept by the plan"), named(fig, "cut by the plan")
    assert [*kept.y, *cut.y] == [4 / 2.5, 3 / 2.5, 2 / 2.5, 1 / 2.5]
    assert len(kept.y) == 3
    assert kept.line.color == palette.KEPT
    assert cut.line.color == palette.CUT
    assert fig.layout.shapes[0].x0 == pytest.approx(2.5 / 3)


def test_every_layer_of_a_group_has_a_curve():
    fig = importance.layer_curves({"conv1": [2.0, 1.0, 3.0], "bn1": [1.0, 1.0, 1.0]})
    assert list(named(fig, "conv1").y) == [1.5, 1.0, 0.5]
    assert list(named(fig, "bn1").x) == [0, 0.5, 1]


def test_rank_map_has_a_row_a_group_and_marks_the_cut():
    fig = importance.rank_map({"a": [4.0, 2.0], "b": [1.0, 1.0, 1.0, 1.0]}, {"a": 1, "b": 4}, columns=4)
    heat, marks = fig.data
    np.testing.assert_allclose(heat.z, [[4 / 3, 4 / 3, 2 / 3, 2 / 3], [1, 1, 1, 1]])
    assert (list(marks.x), list(marks.y)) == ([0.5], [0])


def test_every_cut_is_marked_and_the_teacher_has_a_line():
    line = training.Series("student", [0, 10, 20], [0.9, 0.8, 0.95], palette.STUDENT)
    fig = training.over_steps([line], "Top-1", marks=[training.Mark(5, "a loses 2"), training.Mark(9, "b loses 1")],
                              levels=[training.Level("teacher", 0.97)], share=True)  # fmt: skip
    assert list(named(fig, "student").y) == [0.9, 0.8, 0.95]
    assert named(fig, "student").line.color == palette.STUDENT
    assert set(named(fig, "teacher").y) == {0.97}
    assert named(fig, "teacher").line.color == palette.ink(False)
    assert list(named(fig, "cut").x) == [5, 9]
    assert list(named(fig, "cut").customdata) == ["a loses 2", "b loses 1"]


def test_width_map_carries_widths_forward_from_the_step_of_each_cut():
    fig = training.width_map({"a": [(10, 4), (30, 2)], "b": [(20, 6)]}, {"a": 8, "b": 8, "c": 5}, last=40)
    heat = fig.data[0]
    assert list(heat.x) == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(heat.z, [[1, 0.5, 0.5, 0.25], [1, 1, 0.75, 0.75], [1, 1, 1, 1]])


def test_sections_are_as_fine_as_fits():
    names = [f"layer{i}.{j}.conv1" for i in range(4) for j in range(2)]
    assert [part.name for part in sections(names)] == [f"layer{i}.{j}" for i in range(4) for j in range(2)]
    assert [(part.name, part.first, part.last) for part in sections(names, most=4)] == [(f"layer{i}", 2 * i, 2 * i + 1) for i in range(4)]
    assert [part.name for part in sections(["conv1", "conv1#2", "layer1.0.conv1"])] == ["conv1", "layer1.0"]


def test_positions_are_written_as_ranges():
    assert positions([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7–8"
    assert positions(list(range(0, 20, 2))) == "0, 2, 4, 6, … (10 in all)"


def test_tables_say_why_a_group_is_locked_and_where_its_units_sit():
    record = synthetic.chain(locked=(1,))
    table = groups_table(record, CostModel(record).shares)
    assert list(table["state"]) == ["prunable", "locked", "prunable", "prunable"]
    assert table["reason"][1] == "an operator without a rule reads it"
    assert table["certified"][0] == "proved"
    where = slices_table(record.groups[0])
    assert list(where["tensor"]) == ["stage0.conv0.weight", "stage0.conv1.weight"]
    assert list(where["axis"]) == [0, 1]
    assert set(where["all units"]) == {"0–7"}
