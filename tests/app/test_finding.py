"""What the search offers: every group, layer, run, plan, project, screen and demo, each with the address that shows it."""

from __future__ import annotations

import pytest
import synthetic
from conftest import ROOT
from finished_runs import finish
from live_run import opened

from app import engine, finding
from app.history import Branch
from app.layers import layers
from cpd.prune.cost import CostModel
from cpd.runs import control
from cpd.runs.project import create_project


def test_groups_stay_on_a_screen_that_shows_groups():
    record = synthetic.chain(locked=(1,))
    at = {"project": "p"}
    rows = finding.groups(record, at, "sensitivity")
    assert [(row.name, row.page, row.query) for row in rows[:2]] == [
        ("stage0.conv0", "sensitivity", {"project": "p", "group": "stage0.conv0"}),
        ("stage0.conv1", "sensitivity", {"project": "p", "group": "stage0.conv1"}),
    ]
    assert "8 units" in rows[0].label
    assert "locked" in rows[1].label
    assert {row.page for row in finding.groups(record, at, "run")} == {"comb"}


def test_a_layer_leads_to_the_group_that_owns_it():
    record = synthetic.chain()
    cost = CostModel(record)
    found = layers(record, cost.operator_macs(cost.sizes(cost.dead({}))).tolist())
    rows = finding.layers(found, [group.name for group in record.groups], {"project": "p"}, "start")
    by_name = {row.name: row for row in rows}
    assert by_name["stage1.conv0"].query["group"] == "stage1.conv0"
    assert "group" not in by_name["head"].query  # its outputs are the classes


def test_the_page_offers_all_of_it_and_a_run_is_found_by_its_note(project, home, open_page):
    record = synthetic.chain()
    made = project(record)
    finish(home, made, record, "distill-a")
    control.annotate(home, "distill-a", "  the gentle one ")
    create_project(home, "elsewhere", "timm:other")
    at = open_page("run", project=made.id)
    assert not at.exception
    assert {button.key for button in at.sidebar.button} >= {"search.open", "help.open"}
    rows = finding.runs(engine.store().list_runs(), {made.id: "bench"}, {"distill-a": "down to half"})
    assert rows[0].label.startswith("distill-a  ·  run, the gentle one, bench, finished, down to half")
    assert rows[0].query == {"project": made.id, "run": "distill-a"}
    assert finding.runs(engine.store().list_runs(), {}, {}) == []
    assert [row.page for row in finding.plans([Branch("bold", note="if they insist")], {"project": made.id})] == ["plan"]


def test_a_note_is_shown_wherever_the_run_is(project, home, open_page):
    record = synthetic.chain()
    made = project(record)
    finish(home, made, record, "distill-a")
    finish(home, made, record, "distill-b", lost=range(7))
    control.annotate(home, "distill-b", "twice the *data*")
    at = opened(open_page("run", project=made.id, run="distill-b"), "run.list")
    assert any("twice the" in str(caption.value) for caption in at.caption)
    assert at.dataframe[0].value["Note"].tolist() == ["twice the *data*", ""]
    at.text_area[0].set_value("").run()
    assert engine.run("distill-b").note == ""
    at = open_page("compare", project=made.id)
    assert "Note" not in at.dataframe[0].value
    control.annotate(home, "distill-a", "the gentle one")
    at = open_page("compare", project=made.id)
    assert "the gentle one" in at.dataframe[0].value["Note"].tolist()


@pytest.mark.parametrize("button, inside", [("search.open", "selectbox"), ("help.open", "markdown")])
def test_a_dialog_stays_open_when_the_whole_page_is_drawn_again(button, inside, open_page, project):
    """As it is when a run ends while somebody types: only who opened it closes it, or goes elsewhere."""
    made = project()
    at = open_page("run", project=made.id)

    def is_open() -> bool:
        if inside == "selectbox":
            return any((element.key or "").startswith("search.") for element in at.selectbox)
        return any("**Words**" in element.value for element in at.markdown)

    assert not is_open()
    at.button(key=button).click().run()
    assert is_open()
    at.run()
    assert is_open()
    at.switch_page(str(ROOT / "pages" / "comb.py")).run()
    assert not is_open()
    assert not at.exception
