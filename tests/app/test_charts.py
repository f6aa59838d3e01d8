"""Chart functions on their data: what is drawn, in which colour, and that empty data gives the same axes."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic

from app import palette
from app.charts import architecture as picture
from app.charts import importance, ratios, training
from app.charts.architecture_svg import architecture_svg, axis_ticks
from app.charts.frame import tools
from app.charts.per_class import MOST, per_class
from app.layers import LOCKED, PRUNABLE, Layer, layers, sections, state_of, widths_left
from app.tables import groups_table, nested, positions, slices_table
from cpd.comb.group import Group, Slice
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
    by_colour = {trace.marker.color: dict(zip(trace.x, trace.y, strict=True)) for trace in fig.data if trace.type == "bar"}
    assert by_colour == {palette.KEPT: {0: 8, 3: 32}, palette.LOCKED: {1: 16, 4: 10}, palette.SELECTION: {2: 16}}
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == (picture.X, picture.Y)


def test_architecture_of_a_grouped_layer_selects_a_group_that_can_be_pruned():
    layer = Layer("attn.qkv", "linear", 96, 1e6, ("locked one", "heads"))
    fig = picture.architecture([layer], {"locked one": LOCKED, "heads": PRUNABLE})
    assert fig.data[0].customdata[0][3] == "heads"
    assert fig.data[0].marker.color == palette.KEPT


def test_architecture_after_a_plan_stacks_what_is_cut_on_what_stays():
    """Groups of 8, 16 and 32; the plan keeps 6, 16 and 8, so the colours split the bars there."""
    record, found = chain_layers(widths=(8, 16, 32))
    cost = CostModel(record)
    keep = {"stage0.conv0": range(6), "stage1.conv0": range(8)}
    kept = widths_left(found, cost.sizes(cost.dead(keep)).tolist())
    assert kept == [6, 16, 8, 10]
    fig = picture.architecture(found, {group.name: state_of(group) for group in record.groups}, kept=kept)
    assert dict(zip(named(fig, "can be pruned").x, named(fig, "can be pruned").y, strict=True)) == {0: 6, 1: 16, 2: 8}
    gone = named(fig, picture.GONE)
    assert list(zip(gone.x, gone.base, gone.y, strict=True)) == [(0, 6, 2), (2, 8, 24)]
    assert gone.marker.color == "#EAAE80"  # halfway from #D55E00 to white
    assert gone.customdata[1][3] == "stage1.conv0"
    assert gone.customdata[1][5] == "32 → 8"


def test_three_hundred_layers_stay_few_traces_with_a_mark_at_the_selection_and_named_sections():
    found = [Layer(f"blocks.{i // 6}.fc{i % 6}", "linear", 64, 1.0, (f"g{i}",)) for i in range(300)]
    fig = picture.architecture(found, {f"g{i}": LOCKED if i % 7 == 0 else PRUNABLE for i in range(300)}, "g1")
    drawn = [trace for trace in fig.data if trace.type == "bar"]
    assert len(drawn) == 3
    assert sum(len(trace.x) for trace in drawn) == 300
    marks = next(trace for trace in fig.data if trace.type == "scatter")
    assert (list(marks.x), marks.marker.color) == ([1], palette.SELECTION)
    assert 64 < marks.y[0] < fig.layout.yaxis.range[1]
    assert len(fig.layout.shapes) == len(fig.layout.xaxis.ticktext) - 1
    assert 12 <= len(fig.layout.xaxis.ticktext) <= 26
    assert set(fig.layout.xaxis.ticktext) < {f"blocks.{i}" for i in range(50)}
    assert fig.layout.dragmode == "zoom"


def test_the_svg_draws_every_layer_to_scale():
    record, found = chain_layers(widths=(8, 16, 32), locked=(1,))
    states = {group.name: state_of(group) for group in record.groups}
    root = ElementTree.fromstring(architecture_svg(found, states, "stage1.conv0", [6, 16, 8, 10], title="a <net> & more"))
    rects = [r for r in root if r.get("class") == "layer"]
    heights = [float(r.get("height")) for r in rects]
    assert [round(h / heights[0] * 6) for h in heights] == [6, 16, 8, 10]
    assert [r.get("fill") for r in rects] == [palette.KEPT, palette.LOCKED, palette.SELECTION, palette.LOCKED]
    cut = [r for r in root if r.get("class") == "cut"]
    assert [round(float(r.get("height")) / heights[0] * 6) for r in cut] == [2, 24]
    floors = {round(float(r.get("y")) + float(r.get("height")), 1) for r in rects}
    assert len(floors) == 1
    texts = {element.text for element in root if element.tag.endswith("text")}
    assert {"a <net> & more", "can be pruned", "locked", "cut by the plan", "0", "40"} <= texts


@pytest.mark.parametrize(("top", "last"), [(1, 1), (7, 8), (24, 25), (32, 40), (512, 600), (1024, 1250), (4096, 5000), (0, 1)])
def test_ticks_of_the_svg_are_round_and_reach_the_top(top, last):
    ticks = axis_ticks(top)
    assert (ticks[0], ticks[-1]) == (0, last)
    assert len(ticks) <= 6


def test_a_chart_has_buttons_of_its_own_only_where_it_is_zoomed():
    assert tools()["displayModeBar"] is False
    assert tools(zoom=True)["modeBarButtons"] == [["zoom2d", "pan2d", "resetScale2d"]]


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
    heat, marks, rows = fig.data
    np.testing.assert_allclose(heat.z, [[4 / 3, 4 / 3, 2 / 3, 2 / 3], [1, 1, 1, 1]])
    assert (list(marks.x), list(marks.y)) == ([0.5], [0])
    assert (list(rows.y), [row[0] for row in rows.customdata]) == ([0, 1], ["a", "b"])  # what a click takes hold of
    assert rows.customdata[0][1:] == ["1.33×", "1.00×", "0.67×"]


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
    np.testing.assert_array_equal(heat.customdata, [[8, 4, 4, 2], [8, 8, 6, 6], [5, 5, 5, 5]])
    assert list(heat.y) == ["a", "b", "c"]
    wide = training.width_map({"a": [(10, 299)]}, {"a": 300}, last=40).data[0]
    np.testing.assert_array_equal(wide.customdata, [[300, 299]])  # more than fits into the smallest number


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


def test_children_stand_below_their_parents_and_ties_are_named():
    one = np.zeros((4, 1), np.int64)
    heads = Group("attn.qkv:heads", 4, (Slice("w", 0, one),))
    keys = Group("attn.qkv:channels", 64, (), blocks=tuple(i // 16 for i in range(64)), parent=heads.name, tied=("attn.qkv:channels#2",))
    values = Group("attn.qkv:channels#2", 64, (), blocks=keys.blocks, parent=heads.name, tied=(keys.name,))
    other, orphan = Group("fc", 8, ()), Group("lone", 2, (), parent="nobody")
    assert [(g.name, depth) for g, depth in nested([keys, other, heads, orphan, values])] == [
        ("fc", 0), ("attn.qkv:heads", 0), ("attn.qkv:channels", 1), ("attn.qkv:channels#2", 1), ("lone", 0),
    ]  # fmt: skip
    record = replace(synthetic.chain(), groups=(heads, keys, values, other))
    table = groups_table(record, {g.name: {"macs": 0.0, "params": 0.0} for g in record.groups}, {"fc": "fine"})
    assert [name.replace("\u00a0", " ").strip() for name in table["name"]] == ["attn.qkv:heads", "└ channels", "└ channels#2", "fc"]
    assert list(table["blocks"]) == ["", "4 blocks of 16", "4 blocks of 16", ""]
    assert list(table["tied"]) == ["", "channels#2", "channels", ""]
    assert list(table["doctor"]) == ["", "", "", "fine"]


def test_every_class_has_its_dense_value_and_the_way_to_the_pruned_one():
    dense, pruned = {"ground": 0.98, "seven": 0.8, "one": 0.7}, {"ground": 0.97, "one": 0.75}
    fig = per_class(dense, pruned, "IoU")
    assert dict(zip(named(fig, "dense").y, named(fig, "dense").x, strict=True)) == dense
    assert dict(zip(named(fig, "pruned").y, named(fig, "pruned").x, strict=True)) == pruned
    assert named(fig, "pruned").marker.color == palette.STUDENT
    assert list(named(fig, "pruned").customdata) == pytest.approx([-1.0, 5.0])
    assert list(named(fig, "change").x) == [0.98, 0.97, None, 0.7, 0.75, None]
    assert fig.layout.xaxis.title.text == "IoU"
    assert {trace.name for trace in per_class(dense, None, "IoU").data} == {"dense"}
    assert per_class({}, None, "IoU").layout.xaxis.title.text == "IoU"


def test_of_many_classes_those_are_shown_that_lost_most():
    dense = {f"class {i}": 0.9 for i in range(60)}
    pruned = {name: 0.9 - i / 1000 for i, name in enumerate(dense)}
    assert set(named(per_class(dense, pruned, "IoU"), "dense").y) == {f"class {i}" for i in range(60 - MOST, 60)}
