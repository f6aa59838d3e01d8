"""Notes on runs: kept, replaced, refused, in a store that an earlier version wrote, and in the report."""

from __future__ import annotations

import sqlite3

import pytest

from cpd import access
from cpd.access import AccessError, Person, Role
from cpd.errors import RunError
from cpd.runs import control
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.workspace import database, open_workspace


@pytest.fixture
def home(tmp_path):
    root = open_workspace(tmp_path / "home")
    store = Store(database(root))
    store.add("walk-1", RunSpec("walk"))
    store.add("walk-2", RunSpec("walk"))
    store.close()
    return root


def test_a_note_is_kept_and_replaced(home):
    assert control.annotate(home, "walk-1", "  first try\n").note == "first try"
    assert control.annotate(home, "walk-1", "").note == ""
    control.annotate(home, "walk-2", "second")
    store = Store(database(home))
    assert {run.id: run.note for run in store.list_runs()} == {"walk-1": "", "walk-2": "second"}
    assert (store.note("walk-2"), store.note("gone")) == ("second", "")


def test_what_cannot_be_kept_is_refused(home):
    with pytest.raises(RunError, match="no run 'gone'"):
        control.annotate(home, "gone", "x")
    with pytest.raises(RunError, match="has 2001 characters; 2000 at most"):
        control.annotate(home, "walk-1", "x" * 2001)
    access.ask_by(lambda: Person("ann", Role.VIEWER))
    try:
        with pytest.raises(AccessError, match="ann may look on but not write a note on a run"):
            control.annotate(home, "walk-1", "x")
    finally:
        access.ask_by(None)


def test_a_store_of_the_version_before_gets_room_for_notes(home):
    old = sqlite3.connect(database(home))
    old.executescript("ALTER TABLE runs DROP COLUMN note; PRAGMA user_version = 2;")
    old.close()
    store = Store(database(home))
    assert store.run("walk-1").note == ""
    assert store.annotate("walk-1", "kept")
    assert store.run("walk-1").note == "kept"
