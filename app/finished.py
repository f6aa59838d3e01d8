"""Finished runs of a project as the pages that look back read them, cached by the files they come from."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import engine, state
from cpd.errors import CpdError
from cpd.export.result import Handover
from cpd.measure.answers import Difference
from cpd.runs.finished import ANSWERS, FinishedRun, read_finished
from cpd.runs.project import Project, list_projects
from cpd.runs.store import Run


def finished_runs(project: Project) -> list[Run]:
    """Runs that pruned and measured, newest first."""
    return [run for run in engine.runs(project, ("distill",)) if run.state == "finished"]


def opened(run: str) -> FinishedRun:
    """Everything that a run recorded.

    Raises:
        CpdError: its files are gone or damaged.
    """
    folder = engine.files(run)
    found: FinishedRun = _opened(str(folder), state.stamp(folder / "result.json"))
    return found


@st.cache_resource(max_entries=16, show_spinner=False)
def _opened(folder: str, mark: state.Stamp | None) -> FinishedRun:
    return read_finished(Path(folder))


def beside(project: Project) -> list[tuple[Project, Run]]:
    """Finished runs that can be compared: this project's, newest first, then those of projects with the same data."""
    others = [each for each in list_projects(state.workspace()) if each.id != project.id and project.data and each.data == project.data]
    return [(each, run) for each in (project, *others) for run in finished_runs(each)]


def class_differences(run: str) -> list[tuple[str, Difference]]:
    """Change of every class with its interval; empty where the run kept no answers.

    Raises:
        CpdError: the run's files are gone or damaged.
    """
    folder = engine.files(run)
    found: list[tuple[str, Difference]] = _class_differences(run, state.stamp(folder / ANSWERS), state.stamp(folder / "result.json"))
    return found


# Resampling whole images takes a moment for many classes; the answers of a finished run never change.
@st.cache_resource(max_entries=16, show_spinner=False)
def _class_differences(run: str, *stamps: state.Stamp | None) -> list[tuple[str, Difference]]:
    answers = opened(run).answers
    return [] if answers is None else answers.class_differences()


def handover(project: Project, run: str) -> tuple[Run, Handover | None] | None:
    """The newest hand-over of a run and what it found, None where there is none; its result once it is finished."""
    newest = next((each for each in engine.runs(project, ("export",)) if each.spec.options.get("run") == run), None)
    if newest is None:
        return None
    row = engine.result(newest.id) if newest.state == "finished" else None
    try:
        return newest, None if row is None else Handover.from_dict({k: v for k, v in row.items() if k != "run"}, f"{newest.id}/result.json")
    except CpdError:
        return newest, None
