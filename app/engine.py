"""What the pages ask of the run engine: which work is under way, start some, stop it, and what it recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from app import state
from cpd import access
from cpd.errors import CpdError
from cpd.measure.abilities import Abilities
from cpd.measure.abilities import abilities as can_do
from cpd.runs import control, policy, supervisor
from cpd.runs.checkpoint import Saved
from cpd.runs.likeness import like as alike
from cpd.runs.policy import Policy
from cpd.runs.project import Project
from cpd.runs.sound import check, is_cluster
from cpd.runs.spec import RunSpec
from cpd.runs.standing import Standing
from cpd.runs.standing import standing as how_it_stands
from cpd.runs.store import Event, Run, Series, Store
from cpd.runs.workspace import database, open_workspace, run_folder

COMB = {"timeout_s": 120, "certify": True}
DOCTOR = {"ratios": [0.25, 0.5, 0.9], "limit_s": 600, "timeout_s": 120}
MEASURE = {"batches": [1, 32], "accuracy": True}
SHARED_S = 0.9  # what a live run recorded is read and drawn once in this time, however many look on


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(path: str) -> Store:
    return Store(Path(path))


def store() -> Store:
    """The store of the workspace; one connection for all sessions, behind its own lock.

    Raises AccessError for who may no longer look: panels that draw themselves again come past no other door."""
    access.require_look()
    root = state.workspace()
    if not database(root).exists():
        open_workspace(root)
    return _store(str(database(root)))


def submit(project: Project, kind: str, options: Mapping[str, Any], seed: int = 0) -> str:
    """Queue a run of this project; its id."""
    return control.submit(state.workspace(), project.spec(kind, seed, options))


def submit_again(project: Project, kind: str, options: Mapping[str, Any]) -> None:
    """`submit` as the callback of a button; what does not fit is said at the head of the page."""
    try:
        submit(project, kind, options)
    except CpdError as error:
        st.error(str(error), icon=":material/error:")


def distil(project: Project, options: Mapping[str, Any], seed: int, device: str) -> str:
    """Queue a run that prunes while distilling, on this device; its id."""
    return control.submit(state.workspace(), alike(project.spec("distill"), options, seed, device))


def clone(run: str, options: Mapping[str, Any], seed: int, device: str = "") -> str:
    """Queue a run like `run` with these options changed; its id. What the form does not show stays."""
    return control.clone(state.workspace(), run, options, seed, device)


def planned(project: Project, options: Mapping[str, Any], seed: int, device: str, like: Run | None = None) -> tuple[RunSpec | None, str]:
    """What `distil` or `clone` would queue, and why it cannot be in words ("" when it can)."""
    try:
        new = alike(like.spec if like else project.spec("distill"), options, seed, device)
        check(state.workspace(), new)
    except CpdError as error:
        return None, str(error)
    return new, ""


def abilities(device: str) -> Abilities:
    """What this machine can do on that device; on a cluster, where another one computes, nothing speaks against anything."""
    found = can_do(device)
    return replace(found, gpus=None, cores=64, compiler="", bf16=None) if is_cluster(state.workspace()) else found


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
        _tended(str(state.workspace()))
    return found


@st.cache_data(ttl=SHARED_S, max_entries=4, show_spinner=False)
def _tended(root: str) -> float:
    """See to it that a supervisor lives; once for all who look within a second."""
    supervisor.ensure(Path(root))
    return time.time()


def run(name: str) -> Run:
    """The run as it is now; seen to by a supervisor while it is unfinished."""
    found = store().run(name)
    if not found.is_over:
        _tended(str(state.workspace()))
    return found


def standing(run: Run) -> Standing:
    return how_it_stands(state.workspace(), run)


def place(run: Run) -> tuple[int, int] | None:
    """(number in the queue from 1, length of the queue), None for a run that does not wait."""
    if run.state not in ("queued", "paused"):
        return None
    names = [row.id for row in store().queue()]
    return (names.index(run.id) + 1, len(names)) if run.id in names else None


def stop(run: str) -> None:
    control.stop(state.workspace(), run)


def pause(run: str) -> None:
    control.pause(state.workspace(), run)


def resume(run: str) -> None:
    control.resume(state.workspace(), run)


def move(run: str, to: int) -> None:
    """To position `to` of the queue, 0 for the first."""
    control.move(state.workspace(), run, to)


def roll_back(run: str, step: int, options: Mapping[str, Any], device: str = "") -> str:
    """Queue a run that goes on from a checkpoint of `run` with other options; its id."""
    return control.roll_back(state.workspace(), run, step, options, device)


def parallel() -> int:
    """How many heavy runs go on at one time."""
    try:
        return Policy.of(state.workspace()).parallel
    except CpdError:  # a damaged policy.json: the supervisor goes by the defaults, and says so in its log
        return Policy().parallel


def set_parallel(number: int) -> None:
    policy.set_parallel(state.workspace(), number)


def checkpoints(run: str) -> list[Saved]:
    """The places of a run that one can go back to, oldest first."""
    folder = files(run) / "checkpoints"
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return []
    return _checkpoints(str(state.workspace()), run, changed)


@st.cache_data(max_entries=32, show_spinner=False)
def _checkpoints(root: str, run: str, changed: int) -> list[Saved]:
    return control.checkpoints(Path(root), run)


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a run has recorded; shared by all sessions, never changed.

    Attributes:
        mark: tells one reading from the next.
    """

    run: Run
    metrics: Mapping[str, Series]
    events: Sequence[Event]
    mark: tuple[str, str, float, int]


def recorded(run: Run) -> Recorded:
    """Metrics and events of a run: to the last one when it is over, else as they were within the last second."""
    ended = run.updated if run.is_over else 0.0
    return _recorded(str(state.workspace()), run.id, ended) if ended else _recorded_now(str(state.workspace()), run.id)


@st.cache_resource(max_entries=16, show_spinner=False)
def _recorded(root: str, run: str, ended: float) -> Recorded:
    return _read(run)


@st.cache_resource(ttl=SHARED_S, max_entries=16, show_spinner=False)
def _recorded_now(root: str, run: str) -> Recorded:
    return _read(run)


def _read(run: str) -> Recorded:
    now = store().run(run)  # before what it recorded: what comes in between is then read again
    events = store().events(run)
    last = max((event.number for event in events), default=0)
    return Recorded(now, store().metrics(run, most=600), events, (run, now.state, now.updated, last))


def files(run: str) -> Path:
    """The run's folder."""
    return run_folder(state.workspace(), run)


def result(run: str) -> Mapping[str, Any] | None:
    """What a finished run handed over, None before it did."""
    return state.read_json(files(run) / "result.json")
