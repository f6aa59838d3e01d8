"""The Plan screen through the app's entry: what an edit changes on screen and on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from plan_page import edit, metric, saved, select, texts

from cpd.measure.measurement import Latency, Measurement
from cpd.prune.cost import CostModel
from cpd.prune.plan import GroupPlan, Plan, uniform_plan
from cpd.prune.trial import Trial, add_trial
from cpd.runs.project import project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database

A, B, C, D = (group.name for group in synthetic.chain().groups)


def known(home: Path, made, record) -> Path:
    """The project with a latency profile and a finished scan of its sensitivity."""
    folder = project_folder(home, made.id)
    synthetic.latency_table(record).save(folder / "latency.json")
    synthetic.sensitivity_table(record).save(folder / "sensitivity.json")
    return folder


# Editing -------------------------------------------------------------------------------------------------------------


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


# Search and selection ------------------------------------------------------------------------------------------------


def test_words_patterns_and_kinds_narrow_the_table_and_an_edit_hits_the_row_that_is_shown(open_page, project, home):
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("plan", project=made.id, find="stage1")
    assert list(at.data_editor[0].value["group"]) == [C, D]
    edit(at, (1, {"requested": 50.0}))
    assert saved(home, made).ratios == {A: 0, B: 0, C: 0, D: 0.5}
    at.text_input(key="find").set_value("STAGE? v1").run()
    assert list(at.data_editor[0].value["group"]) == [B, D]
    at.text_input(key="find").set_value("").run()
    for kind, names in {"Cut": [D], "Held": [D], "Locked": [B], "All": [A, B, C, D]}.items():
        at.segmented_control(key="show").set_value(kind).run()
        assert list(at.data_editor[0].value["group"]) == names
    at.text_input(key="find").set_value("nothing like it").run()
    assert "No group is like that" in texts(at, "markdown")


def test_bulk_actions_touch_the_selection_alone(open_page, project, home):
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("plan", project=made.id)
    assert at.button(key="plan.hold").disabled
    select(at, A, B, C)
    assert "2 selected groups" in at.slider(key="plan.ratio").label  # what is locked cannot be selected
    at.slider(key="plan.ratio").set_value(50).run()
    assert saved(home, made).ratios == {A: 0.5, B: 0, C: 0.5, D: 0}
    assert list(at.data_editor[0].value["held"]) == [True, False, True, False]
    at.number_input(key="plan.factor").set_value(50).run()
    at.button(key="plan.scale").click().run()
    assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0.25, D: 0}
    at.button(key="plan.release").click().run()
    assert not any(at.data_editor[0].value["held"])
    at.button(key="plan.clear").click().run()
    at.slider(key="plan.ratio").set_value(75).run()
    assert saved(home, made).ratios == {A: 0.75, B: 0, C: 0.75, D: 0.75}
    select(at, D)
    at.button(key="plan.reset").click().run()
    assert saved(home, made).ratios == {A: 0.75, B: 0, C: 0.75, D: 0}
    at.button(key="plan.hold").click().run()
    assert list(at.data_editor[0].value["held"]) == [False, False, False, True]
    assert not at.exception


def test_groups_are_also_selected_by_ticking_and_by_searching(open_page, project):
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("plan", project=made.id)
    edit(at, (0, {"pick": True}), (1, {"pick": True}))
    assert at.session_state["plan.selected"] == {A}
    at.text_input(key="find").set_value("stage1").run()
    at.button(key="plan.select.shown").click().run()
    assert at.session_state["plan.selected"] == {C, D}
    assert at.query_params["group"] == [C, D]
    linked = open_page("plan", project=made.id, group=D)
    assert linked.session_state["plan.selected"] == {D}
    assert "1 selected group" in linked.slider(key="plan.ratio").label
    drawn = {trace["name"]: trace for trace in json.loads(at.get("plotly_chart")[0].proto.spec)["data"]}
    assert drawn["selected"]["x"] == [2, 3]


# Undo, branches, history ---------------------------------------------------------------------------------------------


def test_undo_and_redo_change_screen_and_file(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    assert at.button(key="plan.undo").help == "Nothing to take back."
    edit(at, (0, {"requested": 25.0}))
    edit(at, (0, {"requested": 25.0}), (3, {"requested": 50.0}))
    at.button(key="plan.undo").click().run()
    assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0, D: 0}
    assert list(at.data_editor[0].value["requested"]) == [25, 0, 0, 0]
    at.button(key="plan.redo").click().run()
    assert saved(home, made).ratios[D] == 0.5
    assert at.button(key="plan.redo").help == "Nothing to do again."
    assert not at.exception


def test_history_and_holds_outlive_the_tab_and_the_app(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    edit(at, (0, {"requested": 50.0}))
    at.button(key="plan.undo").click().run()
    again = open_page("plan", project=made.id)  # a new session has nothing but the disk
    assert list(again.data_editor[0].value["held"]) == [True, False, False, False]
    assert again.data_editor[0].value["requested"][0] == 25
    again.button(key="plan.redo").click().run()
    assert saved(home, made).ratios[A] == 0.5
    again.button(key="plan.undo").click().run()
    again.button(key="plan.undo").click().run()
    assert saved(home, made).ratios[A] == 0


def test_branches_keep_their_own_plans_notes_and_histories_and_a_link_opens_one(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.text_input(key="plan.branch.name").set_value("Gentle on D").run()
    at.button(key="plan.branch.new").click().run()
    assert at.query_params["branch"] == "gentle-on-d"
    edit(at, (3, {"requested": 50.0}))
    at.text_area(key="plan.note").set_value("keeps stage 0").run()
    at.selectbox(key="plan.branch").set_value("main").run()
    assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0, D: 0}
    assert "keeps stage 0" not in texts(at, "caption")
    linked = open_page("plan", project=made.id, branch="gentle-on-d", find="stage1", view="Groups")
    assert "keeps stage 0" in texts(linked, "caption")
    assert list(linked.data_editor[0].value["requested"]) == [0, 50]
    assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0, D: 0.5}
    at.run()  # the first tab follows what is open, and says so in its address
    assert at.query_params["branch"] == "gentle-on-d"
    linked.button(key="plan.undo").click().run()
    assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0, D: 0}
    at.text_input(key="plan.branch.name").set_value("main").run()
    at.button(key="plan.branch.new").click().run()
    assert "there is a branch 'main' already" in texts(at, "error")


def test_a_link_to_a_branch_that_is_gone_says_so(open_page, project):
    at = open_page("plan", project=project().id, branch="../../elsewhere")
    assert not at.exception
    assert "no branch '../../elsewhere'" in texts(at, "error")
    assert at.query_params["branch"] == "main"


def test_the_branch_left_behind_is_there_even_if_nothing_was_done_in_it(open_page, project):
    at = open_page("plan", project=project().id)
    at.text_input(key="plan.branch.name").set_value("other").run()
    at.button(key="plan.branch.new").click().run()
    assert at.selectbox(key="plan.branch").options == ["main", "other"]


def test_the_history_lists_what_was_done_and_deletes_a_branch(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.slider(key="plan.ratio").set_value(50).run()
    at.text_input(key="plan.branch.name").set_value("other").run()
    at.button(key="plan.branch.new").click().run()
    at.segmented_control(key="view").set_value("History").run()
    assert not at.exception
    assert list(at.dataframe[0].value["What"]) == ["all that is free set to 50%", f"{A} set to 25.0%", "nothing cut yet"]
    at.button(key="plan.delete").click().run()
    assert sorted(path.name for path in (project_folder(home, made.id) / "branches").glob("*.json")) == ["current.json", "other.json"]


def test_a_plan_written_elsewhere_appears_and_can_be_undone(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    uniform_plan(record, 0.5).save(project_folder(home, made.id) / "plan.json")
    at.run()
    assert "4 of 4 groups cut" in texts(at, "caption")
    assert list(at.data_editor[0].value["held"]) == [True, False, False, False]
    at.button(key="plan.undo").click().run()
    assert "1 of 4 groups cut" in texts(at, "caption")


def test_a_damaged_history_is_left_alone_and_the_plan_stays(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    file = project_folder(home, made.id) / "branches" / "main.json"
    file.write_text("{")
    again = open_page("plan", project=made.id)
    assert not again.exception
    assert again.data_editor[0].value["requested"][0] == 25
    edit(again, (1, {"requested": 50.0}))
    assert file.read_text() == "{"
    assert saved(home, made).ratios == {A: 0.25, B: 0.5, C: 0, D: 0}


# Figures: estimated, measured, not known yet -------------------------------------------------------------------------


def test_what_is_not_known_yet_offers_the_work_that_finds_it(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    assert "No sensitivity yet" in texts(at, "caption")
    assert "Not profiled yet" in texts(at, "caption")
    assert [column for column in ("latency", "curve", "alone") if column in at.data_editor[0].value] == []
    for kind in ("profile", "sense"):
        at.button(key=f"plan.{kind}").click().run()
    runs = Store(database(home)).list_runs(made.id)
    assert sorted((run.kind, run.spec.options.get("batch")) for run in runs) == [("profile", 32), ("sense", None)]
    assert "waiting for its turn" in texts(at, "caption")


def test_estimates_follow_every_edit_with_their_errors(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    known(home, made, record)
    at = open_page("plan", project=made.id)
    edit(at, (3, {"requested": 18.75}))
    macs = synthetic.macs_by_hand((8, 16, 16, 26))
    latency = metric(at, "Latency, batch 32 · estimate")
    assert latency.value == f"{0.5 + macs * synthetic.MS_PER_MAC:.2f} ms"
    # Two checks that were off by 10 %, and 6 % from one hour to the next: 1.645 times their root, doubled for there being two.
    assert latency.proto.delta_description == "± 38 %"
    # The scan cut this group alone to 26 of 32 units and saw a tenth times 6/32 less.
    assert metric(at, "Accuracy (top-1) · predicted").value == f"{100 * (0.9 - 0.1 * 6 / 32):.1f} %"
    frame = at.data_editor[0].value
    assert frame["alone"][3] == pytest.approx(-100 * 0.1 * 6 / 32)
    assert list(frame["curve"][3]) == pytest.approx([0.9 - 0.1 * (1 - kept / 32) for kept in (32, 26, 20, 13, 7)])
    gone = synthetic.macs_by_hand((8, 16, 16, 0))
    whole = 0.5 + synthetic.macs_by_hand((8, 16, 16, 32)) * synthetic.MS_PER_MAC
    assert frame["latency"][3] == pytest.approx(1 - (0.5 + gone * synthetic.MS_PER_MAC) / whole)


def test_a_measurement_takes_the_place_of_the_estimate_for_its_own_plan_alone(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    folder = known(home, made, record)
    at = open_page("plan", project=made.id)
    edit(at, (3, {"requested": 50.0}))
    at.button(key="plan.measure").click().run()
    run = Store(database(home)).list_runs(made.id)[0]
    assert run.kind == "trial"
    assert Plan.from_json(json.dumps(run.spec.options["plan"])) == saved(home, made)
    assert at.button(key="plan.measure").disabled

    dense = Measurement(7_000, 2e6, "top1", 0.95, 400, (Latency(32, 2.0, 1.9, 2.1, 30, 1),), "cpu", "bench", "2.13")
    pruned = replace(dense, quality=0.9, latency=(Latency(32, 1.5, 1.4, 1.7, 30, 1),))
    add_trial(folder / "trial.json", Trial(saved(home, made).digest, dense, pruned, 8, 3.0, 1.0))
    at = open_page("plan", project=made.id)
    assert (metric(at, "Accuracy (top-1) · measured").value, metric(at, "Accuracy").delta) == ("90.0 %", "-5.00 pts")
    assert (metric(at, "Latency, batch 32 · measured").value, metric(at, "Latency").delta) == ("1.50 ms", "-25.0 %")
    assert metric(at, "Latency").proto.delta_description == "1.40–1.70 ms"
    assert "the machine was busy" not in texts(at, "caption")  # 2 ms, where the profile says 0.5 + 2.1
    add_trial(folder / "trial.json", Trial(saved(home, made).digest, replace(dense, latency=(Latency(32, 8.0, 7.0, 9.0, 30, 1),)), pruned, 8, 3.0, 1.0))
    at.run()
    assert "the dense model took 3.05× what its profile says" in texts(at, "caption")
    edit(at, (2, {"requested": 50.0}))
    assert metric(at, "Accuracy").label.endswith("predicted")
    assert metric(at, "Latency").label.endswith("estimate")
    assert "the last measurement was of another plan" in texts(at, "caption")
    at.button(key="plan.undo").click().run()
    assert metric(at, "Accuracy").label.endswith("measured")
    assert not at.exception


def test_a_scan_of_another_model_or_a_damaged_profile_is_said_and_nothing_breaks(open_page, project, home):
    made = project()
    folder = project_folder(home, made.id)
    synthetic.sensitivity_table(synthetic.chain((8, 16))).save(folder / "sensitivity.json")
    (folder / "latency.json").write_text('{"schema": 1}')
    at = open_page("plan", project=made.id)
    assert not at.exception
    assert "another model" in texts(at, "error")
    assert "not a latency table" in texts(at, "error")
    assert metric(at, "MACs per sample").value == "2.12 M"


# Comparing -----------------------------------------------------------------------------------------------------------


def test_two_plans_are_told_apart_group_by_group(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    known(home, made, record)
    at = open_page("plan", project=made.id, view="Groups")
    edit(at, (3, {"requested": 50.0}))
    at.text_input(key="plan.branch.name").set_value("other").run()
    at.button(key="plan.branch.new").click().run()
    edit(at, (0, {"requested": 25.0}), (3, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Compare").run()
    at.selectbox(key="plan.compare.first").set_value("main, as it is now").run()
    at.selectbox(key="plan.compare.second").set_value("other, as it is now").run()
    assert not at.exception
    figures, groups = (element.value for element in at.dataframe[:2])
    assert list(groups["Group"]) == [A, D]
    assert [tuple(row) for row in groups[["Kept, first", "Kept, second"]].to_numpy()] == [(8, 6), (16, 24)]
    before, after = (synthetic.parameters_by_hand(widths) for widths in ((8, 16, 16, 16), (6, 16, 16, 24)))
    assert list(figures[figures["Quantity"] == "Parameters"].iloc[0])[1:] == [f"{before:,}", f"{after:,}", f"{100 * (after / before - 1):+.1f} %"]
    chart = json.loads(at.get("plotly_chart")[1].proto.spec)["data"]
    assert {trace["name"]: (trace["x"], trace["y"]) for trace in chart} == {
        "cut more by the second": ([0], [0.25]), "kept more by the second": ([3], [-0.25]),
    }  # fmt: skip


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_plan_can_be_brought_and_another_models_plan_is_refused_group_by_group(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Files").run()
    other = uniform_plan(synthetic.chain((8, 24)), 0.5)
    other = replace(other, groups=(*other.groups, GroupPlan("neck", 4, (0, 1))))
    at.file_uploader(key="plan.upload").upload("other.json", other.to_json().encode()).run()
    assert not at.exception
    assert "made for another model" in texts(at, "error")
    assert dict(zip(at.dataframe[0].value["Group"], at.dataframe[0].value["Difference"], strict=True)) == {
        B: "24 units in the plan, 16 in the model", "neck": "the model has no such group",
        C: "the plan does not name it", D: "the plan does not name it",
    }  # fmt: skip
    assert saved(home, made).ratios[A] == 0.25
    at.file_uploader(key="plan.upload").upload("mine.json", uniform_plan(record, 0.5).to_json().encode()).run()
    assert not texts(at, "error")
    assert set(saved(home, made).ratios.values()) == {0.5}
    at.button(key="plan.undo").click().run()
    assert saved(home, made).ratios[A] == 0.25


def test_units_that_the_scores_here_choose_otherwise_are_pointed_out(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id, view="Files")
    plan = uniform_plan(record, 0.5)
    first = replace(plan.groups[0], keep=(4, 5, 6, 7))
    at.file_uploader(key="plan.upload").upload("mine.json", replace(plan, groups=(first, *plan.groups[1:])).to_json().encode()).run()
    assert f"1 group of mine.json: the ratios are the file's, the units are chosen anew by this project's scores and locks, and differ from the file's ({A}" in texts(at, "caption")


@pytest.mark.parametrize(
    "content, error",
    [(b'{"schema": 1, "groups": 3}', "not a pruning plan"), (b"\xff\xfe", "not a pruning plan"), (b'{"schema": 99}', "another plan schema")],
)
def test_an_upload_that_is_no_plan_is_refused(open_page, project, home, content, error):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Files").run()
    at.file_uploader(key="plan.upload").upload("plan.json", content).run()
    assert not at.exception
    assert error in texts(at, "error")
    assert saved(home, made).ratios[A] == 0.25
