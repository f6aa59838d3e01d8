"""Undo, branches and the history outlive the tab and the app."""

from __future__ import annotations

import synthetic
from plan_page import A, B, C, D, edit, saved, texts

from cpd.prune.plan import uniform_plan
from cpd.runs.project import project_folder


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
