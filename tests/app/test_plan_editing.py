"""Typing, the slider, the solver, presets and rules: what an edit changes on screen and on disk."""

from __future__ import annotations

import pytest
import synthetic
from plan_page import A, B, C, D, edit, known, metric, saved, texts

from cpd.prune.cost import CostModel
from cpd.runs.project import project_folder


def test_an_edit_moves_the_tiles_and_is_saved(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    assert metric(at, "MACs per sample").value == "2.12 M"
    edit(at, (3, {"requested": 50.0}))
    assert not at.exception
    # The last convolution keeps 16 of 32: its own MACs halve, and so do the head's.
    macs = synthetic.macs_by_hand((8, 16, 16, 16))
    assert metric(at, "MACs per sample").value == f"{macs / 1e6:.2f} M"
    assert metric(at, "Parameters").value == f"{synthetic.parameters_by_hand((8, 16, 16, 16)):,}"
    assert "1 of 4 groups cut, 16 of 72 units removed" in texts(at, "caption")
    plan = saved(home, made)
    assert plan.ratios["stage1.conv1"] == 0.5
    assert len(plan.keep["stage1.conv1"]) == 16
    frame = at.data_editor[0].value
    assert list(frame["granted"]) == [0, 0, 0, 0.5]
    assert list(frame["held"]) == [False, False, False, True]


def test_what_the_browser_keeps_on_top_of_the_table_never_contradicts_it(open_page, project, home):
    """It sends all edits since the table was begun: a ratio typed, then released, then another row, then typed again."""
    made = project()
    at = open_page("plan", project=made.id)
    first = at.data_editor[0].proto.id
    edit(at, (0, {"requested": 25.0}))
    edit(at, (0, {"requested": 25.0, "held": False}))
    edit(at, (0, {"requested": 25.0, "held": False}), (1, {"requested": 50.0}))
    assert at.data_editor[0].proto.id == first  # the same table: its place and its cursor stay
    assert list(at.data_editor[0].value["held"]) == [False, True, False, False]
    edit(at, (0, {"requested": 75.0, "held": False}), (1, {"requested": 50.0}))
    assert at.data_editor[0].proto.id != first  # typing holds, which the browser's older tick would hide
    assert list(at.data_editor[0].value["held"]) == [True, True, False, False]
    assert [saved(home, made).ratios[name] for name in (A, B)] == [0.75, 0.5]


def test_requested_and_granted_differ_with_the_reason(open_page, project):
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("plan", project=made.id)
    at.selectbox(key="plan.multiple").set_value(8).run()
    edit(at, (1, {"requested": 50.0}), (2, {"requested": 30.0}))
    frame = at.data_editor[0].value
    assert (frame["requested"][1], frame["granted"][1]) == (50.0, 0)
    assert frame["reason"][1].startswith("locked")
    assert (frame["requested"][2], frame["granted"][2]) == (30.0, 0.5)
    assert "multiple of 8" in frame["reason"][2]


def test_a_least_width_holds_for_every_group(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    at.number_input(key="plan.minimum").set_value(6).run()
    at.slider(key="plan.ratio").set_value(90).run()
    assert [len(units) for units in saved(home, made).keep.values()] == [6, 6, 6, 6]


def test_a_groups_own_least_width_is_typed_obeyed_said_kept_and_undone(open_page, project, home):
    made = project(scored=("fisher",))
    at = open_page("plan", project=made.id)
    edit(at, (1, {"least": 12}), (3, {"least": 20}))
    at.slider(key="plan.ratio").set_value(50).run()
    assert [len(units) for units in saved(home, made).keep.values()] == [4, 12, 8, 20]
    frame = at.data_editor[0].value
    assert [frame["reason"][row] for row in (1, 3)] == ["minimum width 12", "minimum width 20"]
    assert not any(frame["held"])  # it bounds a ratio, it does not set one
    at.number_input(key="plan.minimum").set_value(5).run()
    at.number_input(key="plan.target.share").set_value(20).run()
    at.button(key="plan.solve").click().run()
    widths = [len(units) for units in saved(home, made).keep.values()]
    assert widths[1] >= 12
    assert widths[3] >= 20
    again = open_page("plan", project=made.id)
    assert list(again.data_editor[0].value["least"].astype(object).where(again.data_editor[0].value["least"].notna(), None)) == [None, 12, None, 20]
    edit(again, (1, {"least": None}))
    assert saved(home, made).constraints.minimums == {D: 20}
    again.button(key="plan.undo").click().run()
    assert saved(home, made).constraints.minimums == {B: 12, D: 20}
    again.segmented_control(key="view").set_value("History").run()
    assert f"{B} without a minimum width" in list(again.dataframe[0].value["What"])
    assert "2 groups: minimum widths edited" in list(again.dataframe[0].value["What"])


def test_the_units_with_the_lowest_scores_go(open_page, project, home):
    made = project(scored=("l2",))  # made-up scores ascend with the unit's number
    at = open_page("plan", project=made.id)
    edit(at, (1, {"requested": 75.0}))
    assert saved(home, made).keep["stage0.conv1"] == (12, 13, 14, 15)


def test_slider_and_solver_leave_held_rows_alone(open_page, project, home):
    record = synthetic.chain()
    made = project(record, scored=("fisher",))
    at = open_page("plan", project=made.id)
    edit(at, (0, {"held": True}))
    at.slider(key="plan.ratio").set_value(50).run()
    assert saved(home, made).ratios == {A: 0, B: 0.5, C: 0.5, D: 0.5}
    at.number_input(key="plan.target.share").set_value(30).run()
    at.button(key="plan.solve").click().run()
    assert not at.exception
    plan, cost = saved(home, made), CostModel(record)
    assert plan.target == {"macs": 0.3}
    assert plan.criterion == "fisher"
    assert cost.price(plan.keep).share_of(cost.dense)["macs"] <= 0.3
    assert len(plan.keep["stage0.conv0"]) == 8


@pytest.mark.parametrize("name", ["uniform", "importance", "alike", "sensitivity"])
def test_presets_meet_their_target_and_leave_held_rows_alone(open_page, project, home, name):
    record = synthetic.chain()
    made = project(record, scored=("fisher",))
    known(home, made, record)
    at = open_page("plan", project=made.id)
    edit(at, (0, {"held": True}))
    at.selectbox(key="plan.preset").set_value(name)
    at.selectbox(key="plan.preset.by").set_value("macs").run()
    at.button(key="plan.preset.go").click().run()
    assert not at.exception
    plan, cost = saved(home, made), CostModel(record)
    share = cost.price(plan.keep).share_of(cost.dense)["macs"]
    assert 0.4 < share <= 0.5
    assert len(plan.keep[A]) == 8
    widths = [len(plan.keep[group]) for group in (B, C, D)]
    if name == "uniform":
        assert len({plan.ratios[group] for group in (B, C, D)}) == 1
    if name == "sensitivity":  # in the made-up scan later groups cost less
        assert widths[0] / 16 > widths[1] / 16 > widths[2] / 32


def test_a_latency_target_and_a_floor_are_solved_for_and_what_cannot_be_met_offers_the_nearest(open_page, project, home):
    record = synthetic.chain()
    made = project(record, scored=("fisher",))
    at = open_page("plan", project=made.id)
    at.selectbox(key="plan.target.name").set_value("latency_ms").run()
    assert at.button(key="plan.solve").disabled
    known(home, made, record)
    at = open_page("plan", project=made.id)
    at.selectbox(key="plan.target.name").set_value("latency_ms").run()
    at.number_input(key="plan.target.ms").set_value(1.5).run()
    at.button(key="plan.solve").click().run()
    widths = tuple(len(units) for units in saved(home, made).keep.values())
    assert 0.5 + synthetic.macs_by_hand(widths) * synthetic.MS_PER_MAC <= 1.5
    assert not at.warning

    at.selectbox(key="plan.target.name").set_value("macs").run()
    at.number_input(key="plan.target.floor").set_value(80.0)
    at.number_input(key="plan.target.share").set_value(1).run()
    at.button(key="plan.solve").click().run()
    assert "below the floor of 0.8" in texts(at, "warning")
    stopped = saved(home, made)
    at.button(key="plan.nearest").click().run()
    assert not at.warning
    assert not at.exception
    assert saved(home, made).keep == stopped.keep
    assert float(metric(at, "Accuracy").value.split()[0]) >= 80


def test_scores_that_came_after_the_first_look_rank_the_units(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id)
    assert at.selectbox(key="plan.criterion").value == ""
    synthetic.table(record, "l2").save(project_folder(home, made.id) / "scores" / "l2.json")
    at.run()
    assert at.selectbox(key="plan.criterion").value == "l2"
    edit(at, (1, {"requested": 75.0}))
    assert saved(home, made).keep[B] == (12, 13, 14, 15)
