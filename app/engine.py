"""What the pages ask of the run engine: which work is under way, start some, stop it, and what it recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app import state
from cpd.runs import control, supervisor
from cpd.runs.project import Project
from cpd.runs.store import Event, Run, Series, Store
from cpd.runs.workspace import database, open_workspace, run_folder

COMB = {"timeout_s": 120, "certify": True}
DOCTOR = {"ratios": [0.25, 0.5, 0.9], "limit_s": 600, "timeout_s": 120}
MEASURE = {"batches": [1, 32], "accuracy": True}


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(path: str) -> Store:
    return Store(Path(path))


def store() -> Store:
    """The store of the workspace; one connection for all sessions, behind its own lock."""
    root = state.workspace()
    if not database(root).exists():
        open_workspace(root)
    return _store(str(database(root)))


def submit(project: Project, kind: str, options: Mapping[str, Any], seed: int = 0) -> str:
    """Queue a run of this project; its id."""
    return control.submit(state.workspace(), project.spec(kind, seed, options))


def submit_again(project: Project, kind: str, options: Mapping[str, Any]) -> None:
    """`submit` as the callback of a button."""
    submit(project, kind, options)


def prepare(project: Project) -> None:
    """What a new project needs first: its groups and its baseline."""
    submit(project, "comb", COMB)
    submit(project, "measure", MEASURE)


def runs(project: Project, kinds: Sequence[str] = ()) -> list[Run]:
    """Newest first."""
    return store().list_runs(project.id, kinds)


def latest(project: Project, kind: str) -> Run | None:
    found = store().list_runs(project.id, (kind,), most=1)
    return found[0] if found else None


def active(project: Project, kinds: Sequence[str]) -> list[Run]:
    """Unfinished runs of these kinds, oldest first.

    A supervisor sees to them: where the last one was killed, whoever looks next starts another.
    """
    found = [run for run in reversed(runs(project, kinds)) if not run.is_over]
    if found:
        supervisor.ensure(state.workspace())
    return found


def stop(run: str) -> None:
    control.stop(state.workspace(), run)


def metrics(run: str) -> dict[str, Series]:
    return store().metrics(run, most=600)


def events(run: str, kinds: Sequence[str] = ()) -> list[Event]:
    return store().events(run, kinds=kinds)


def files(run: str) -> Path:
    """The run's folder."""
    return run_folder(state.workspace(), run)


def result(run: str) -> Mapping[str, Any] | None:
    """What a finished run handed over, None before it did."""
    return state.read_json(files(run) / "result.json")
