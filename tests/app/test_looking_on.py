"""Somebody who may only look on, on every page: whatever is pressed, nothing on disk changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic
from finished_runs import finish
from live_run import opened, started

from cpd import access
from cpd.access import NOBODY, Person, Role
from cpd.prune.plan import uniform_plan
from cpd.runs.project import project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database

PAGES = ("start", "comb", "importance", "sensitivity", "plan", "run", "compare", "present")
DRAWERS = {"run": ("run.form.", "run.list")}  # are drawn once they are opened


@pytest.fixture
def as_(home: Path) -> Iterator[Any]:
    """Makes whoever looks at pages from now on somebody with this role."""
    yield lambda role: access.ask_by(lambda: Person("ann@example.org", role))
    access.ask_by(None)


@pytest.fixture
def busy(home: Path, project) -> str:
    """A project in which there is something to press on every page."""
    record = synthetic.chain()
    made = project(record, scored=("fisher", "l2"))
    folder = project_folder(home, made.id)
    synthetic.sensitivity_table(record).save(folder / "sensitivity.json")
    synthetic.latency_table(record).save(folder / "latency.json")
    uniform_plan(record, 0.4).save(folder / "plan.json")
    for number in (2, 3):
        finish(home, made, record, f"distill-{number}", lost=range(number))
    started(home, made)
    return made.id


def content(home: Path) -> tuple[Any, ...]:
    store = Store(database(home))
    rows = [store._read(f"SELECT * FROM {table}", ()) for table in ("runs", "metrics", "events")]
    store.close()
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.name.startswith("runs.db")}
    return rows, files


@pytest.mark.parametrize("page", PAGES)
def test_whatever_is_pressed_nothing_changes(open_page, as_, busy, home, page, monkeypatch):
    """Nothing is drawn disabled for a viewer here: it is the library that has to refuse."""
    as_(Role.VIEWER)
    before = content(home)
    at = opened(open_page(page, project=busy), *DRAWERS.get(page, ()))
    assert "You look on" in "\n".join(element.value for element in at.sidebar.caption)
    monkeypatch.setattr("app.who.looks_on", lambda: False)
    at = opened(open_page(page, project=busy), *DRAWERS.get(page, ()))
    assert not at.exception
    kinds = ("button", "toggle", "checkbox", "number_input", "slider", "text_area", "multiselect", "selectbox")
    keys = [(kind, element.key) for kind in kinds for element in getattr(at, kind) if element.key]
    for kind, key in keys:
        element = next((element for element in getattr(at, kind) if element.key == key), None)
        if element is None or element.disabled:
            continue
        if kind == "button":
            element.click()
        elif kind in ("toggle", "checkbox"):
            element.set_value(not element.value)
        elif kind == "text_area":
            element.set_value("written by a visitor")
        elif kind in ("number_input", "slider"):
            step = element.step or 1
            if element.value is None or isinstance(element.value, (tuple, list)) or (element.max is not None and element.value + step > element.max):
                continue
            element.set_value(element.value + step)
        elif kind == "selectbox" and element.options:
            element.select_index(len(element.options) - 1)
        elif kind == "multiselect" and element.value:
            element.unselect(element.value[0])
        else:
            continue
        at.run()
        assert not at.exception, (kind, key, at.exception[0].message)
        assert content(home) == before, (page, kind, key)
        if not any(element.key == key for element in getattr(at, kind)):  # it led elsewhere
            at = opened(open_page(page, project=busy), *DRAWERS.get(page, ()))
    assert keys or page == "present"


@pytest.mark.parametrize(("page", "keys"), [("run", ["run.start", "stop.distill-1", "pause.distill-1"]), ("comb", ["doctor.go"]), ("importance", ["score.go"]), ("sensitivity", ["sense.go"])])
def test_what_would_change_something_is_disabled_for_a_viewer_alone(open_page, as_, busy, page, keys):
    as_(Role.EDITOR)
    drawers = DRAWERS.get(page, ())
    allowed = {key: opened(open_page(page, project=busy, run="distill-1"), *drawers).button(key=key).disabled for key in keys}
    as_(Role.VIEWER)
    refused = {key: opened(open_page(page, project=busy, run="distill-1"), *drawers).button(key=key).disabled for key in keys}
    assert not any(allowed.values())
    assert all(refused.values())


def test_an_edit_of_the_plan_is_refused_in_words(open_page, as_, busy, home, monkeypatch):
    as_(Role.VIEWER)
    monkeypatch.setattr("app.who.looks_on", lambda: False)  # as if the page had let it through
    before = content(home)
    at = open_page("plan", project=busy)
    at.slider(key="plan.ratio").set_value(70).run()
    assert not at.exception
    assert any("ann@example.org may look on but not" in element.value for element in at.error)
    assert content(home) == before


def test_a_plan_written_elsewhere_is_not_taken_over_for_a_viewer(open_page, as_, busy, home):
    record = synthetic.chain()
    open_page("plan", project=busy)
    uniform_plan(record, 0.7).save(project_folder(home, busy) / "plan.json")
    as_(Role.VIEWER)
    before = content(home)
    assert not open_page("plan", project=busy).exception
    assert content(home) == before


@pytest.mark.parametrize("page", PAGES)
def test_who_is_on_no_list_sees_nothing(open_page, busy, page, as_):
    access.ask_by(lambda: NOBODY)
    at = open_page(page, project=busy)
    assert [element.value for element in at.error] == ["This visitor may not look at this workspace: that takes a viewer, and sharing.toml of the workspace names them."]
    assert not at.title
    assert not at.button


def test_the_sidebar_says_who_one_is(open_page, as_, busy):
    for role, word in ((Role.VIEWER, "look on"), (Role.EDITOR, "Editor"), (Role.OWNER, "Owner")):
        as_(role)
        at = open_page("comb", project=busy)
        assert any("ann@example.org" in element.proto.body for element in at.sidebar.get("html"))
        assert word in at.sidebar.caption[-1].value
    access.ask_by(None)
    assert not any("ann" in element.proto.body for element in open_page("comb", project=busy).sidebar.get("html"))


def test_a_server_that_others_can_reach_without_a_sign_in_shows_nothing(open_page, busy, monkeypatch):
    import streamlit as st

    asked = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: "0.0.0.0" if name == "server.address" else asked(name))
    at = open_page("run", project=busy)
    assert "docs/sharing.md" in at.error[0].value
    assert not at.button
