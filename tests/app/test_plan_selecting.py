"""Which rows the table shows, and what a bulk action touches."""

from __future__ import annotations

import json
from types import SimpleNamespace

import synthetic
from plan_page import A, B, C, D, edit, saved, select, texts

from app.widgets import head_start, plan_selection


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


def test_what_was_selected_is_said_before_the_chart_is_drawn_again(open_page, project, monkeypatch):
    """The browser draws at once what arrives at once, so the chart is held back, where the selection has changed alone."""
    made = project(synthetic.chain(locked=(1,)))
    at = open_page("plan", project=made.id)
    seen: list[str] = []
    bar, chart = plan_selection.selection_bar, plan_selection.ratio_by_depth
    monkeypatch.setattr(head_start, "time", SimpleNamespace(sleep=lambda _: seen.append("wait")))
    monkeypatch.setattr(plan_selection, "selection_bar", lambda desk: seen.append("bar") or bar(desk))
    monkeypatch.setattr(plan_selection, "ratio_by_depth", lambda *a, **k: seen.append("chart") or chart(*a, **k))
    at.run()
    assert seen == ["bar", "chart"]
    seen.clear()
    select(at, A, C)
    assert seen == ["bar", "wait", "chart"]
    assert not at.exception
