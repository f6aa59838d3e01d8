"""Many people before one live run: what it recorded is read and drawn once, and everybody is sent the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import synthetic
from live_run import started

from app import engine
from app.widgets import curves, live
from cpd.runs.store import Store
from cpd.runs.workspace import database


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was drawn anew, by the title of its axis."""
    seen: list[str] = []
    draw = curves.over_steps
    monkeypatch.setattr(curves, "over_steps", lambda series, axis, **look: seen.append(axis) or draw(series, axis, **look))
    return seen


def forget_the_second() -> None:
    """As if a second had passed."""
    engine._recorded_now.clear()


def shown(at: Any) -> list[Any]:
    """Every tile, and every plot as the browser gets it, in their order."""
    plots = [json.loads(element.proto.spec) for element in at.get("plotly_chart")]
    return [*((metric.label, metric.value) for metric in at.metric), *plots, *(table.value.to_dict() for table in at.dataframe)]


def test_who_comes_second_is_sent_what_was_drawn_for_the_first(open_page, project, home, drawn):
    made = project(synthetic.chain())
    started(home, made)
    first = open_page("run", project=made.id)
    assert not first.exception
    once = list(drawn)
    assert len(once) == 7
    second = open_page("run", project=made.id)
    assert not second.exception
    assert drawn == once
    assert shown(second) == shown(first)
    live.drawn.clear()
    forget_the_second()
    assert shown(open_page("run", project=made.id)) == shown(first)  # drawn anew, it is the same


def test_a_new_step_is_drawn_within_a_second(open_page, project, home, drawn):
    made = project(synthetic.chain())
    run = started(home, made)
    at = open_page("run", project=made.id)
    store = Store(database(home))
    store.advance(run, [(40, "val/top1", 0.5)], (41, 100))
    forget_the_second()
    before = len(drawn)
    at.run()
    assert len(drawn) == 2 * before
    accuracy = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    assert any(0.5 in list(trace.get("y", ())) for trace in accuracy if trace["name"] == "student")
    store.close()


def test_the_end_of_a_run_is_never_shown_as_it_was_a_second_before(open_page, project, home):
    """No further look follows the last one, so it has to show everything."""
    made = project(synthetic.chain())
    run = started(home, made)
    at = open_page("run", project=made.id)
    store = Store(database(home))
    store.advance(run, [(99, "val/top1", 0.25)], (100, 100))
    store.finish(run, "stopped", step=100)
    store.close()
    at.run()  # within the same second
    assert any(0.25 in list(trace.get("y", ())) for trace in json.loads(at.get("plotly_chart")[0].proto.spec)["data"])
    assert any(metric.value == "25.00 %" for metric in at.metric)


