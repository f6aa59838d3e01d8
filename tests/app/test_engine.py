"""What the pages ask of the run engine."""

from __future__ import annotations

from app import engine


def test_whoever_looks_at_unfinished_runs_sees_that_a_supervisor_lives(project, home, monkeypatch):
    made, asked = project(), []
    monkeypatch.setattr("cpd.runs.supervisor.ensure", lambda root: asked.append(root))
    assert engine.active(made, ("score",)) == []
    assert asked == []
    run = engine.submit(made, "score", {"criteria": ["l2"]})
    asked.clear()
    assert [found.id for found in engine.active(made, ("score",))] == [run]
    assert asked == [home]
