"""Finished runs of a project as the pages that look back read them, cached by the files they come from."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import engine, state
from app.compare import against, change_of
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
    found: FinishedRun = _opened(str(folder), engine.store().note(run), *_stamps(run))
    return found


@st.cache_resource(max_entries=16, show_spinner=False)
def _opened(folder: str, note: str, *marks: state.Stamp | None) -> FinishedRun:
    return read_finished(Path(folder))


def beside(project: Project) -> list[tuple[Project, Run]]:
    """Finished runs that can be compared: this project's, newest first, then those of projects with the same data."""
    others = [each for each in list_projects(state.workspace()) if each.id != project.id and project.data and each.data == project.data]
    return [(each, run) for each in (project, *others) for run in finished_runs(each)]


# Resampling whole images takes a moment, and the answers of a finished run never change.


def change(run: str) -> Difference | None:
    """Quality of the pruned model less the dense one's, None without labelled data.

    Raises:
        CpdError: the run's files are gone or damaged.
    """
    found: Difference | None = _change(run, *_stamps(run))
    return found


@st.cache_resource(max_entries=64, show_spinner=False)
def _change(run: str, *marks: state.Stamp | None) -> Difference | None:
    return change_of(opened(run))


def apart(one: str, other: str) -> Difference | None:
    """Quality of one run's pruned model less another's, paired; None where they answered other images.

    Raises:
        CpdError: the files of a run are gone or damaged.
    """
    found: Difference | None = _apart(one, other, *_stamps(one), *_stamps(other))
    return found


@st.cache_resource(max_entries=128, show_spinner=False)
def _apart(one: str, other: str, *marks: state.Stamp | None) -> Difference | None:
    return against(opened(one), opened(other))


def class_differences(run: str) -> list[tuple[str, Difference]]:
    """Change of every class with its interval; empty where the run kept no answers.

    Raises:
        CpdError: the run's files are gone or damaged.
    """
    found: list[tuple[str, Difference]] = _class_differences(run, *_stamps(run))
    return found


@st.cache_resource(max_entries=16, show_spinner=False)
def _class_differences(run: str, *marks: state.Stamp | None) -> list[tuple[str, Difference]]:
    answers = opened(run).answers
    return [] if answers is None else answers.class_differences()


def _stamps(run: str) -> list[state.Stamp | None]:
    return [state.stamp(engine.files(run) / name) for name in (ANSWERS, "result.json")]


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
