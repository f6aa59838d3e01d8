"""What the pages share: session keys, which project is open, and cached reads of its files.

The project's id is in the query string, so that a refresh and a shared link find it; everything that matters is on
disk. A cached file is known by its path, modification time and size: a new file is a new entry.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from app.layers import Layer, layers, state_of, widths_left
from cpd.comb.findings import Findings
from cpd.comb.record import CombRecord
from cpd.errors import CpdError, RunError
from cpd.importance.scores import ScoreTable
from cpd.measure.measurement import Measurement
from cpd.prune.cost import CostModel
from cpd.prune.plan import Plan
from cpd.runs.project import Project, open_project, project_folder
from cpd.runs.workspace import HOME_VARIABLE, workspace_root
from cpd.sensitivity.table import FILE as SENSITIVITY
from cpd.sensitivity.table import SensitivityTable

PROJECT = "project"  # query string and session
RUN = "run"  # query string of the pages that show one run
VIEW = "view"  # query string: "present" for the story alone, without menu and controls
GROUP = "group"  # group that is looked at, shared by Comb and Importance
CRITERION = "criterion"

Stamp = tuple[str, int, int]
T = TypeVar("T")


def workspace() -> Path:
    return _workspace(os.environ.get(HOME_VARIABLE, ""))


@lru_cache(maxsize=4)
def _workspace(home: str) -> Path:
    """Resolved once: every part of the path is a look at the disk, and a page asks twenty times."""
    return workspace_root()


def is_presenting() -> bool:
    """Whether the address asks for a story alone: no menu, nothing that changes anything."""
    return bool(st.query_params.get(VIEW) == "present")


def is_dark() -> bool:
    """Whether the viewer's theme is dark; light where the browser has not said."""
    return bool(st.context.theme.type == "dark")


# The open project ----------------------------------------------------------------------------------------------------


def keep_project_in_address() -> None:
    """Carry the project across pages: Streamlit drops the query string when the user follows the menu."""
    asked = st.query_params.get(PROJECT)
    if asked:
        st.session_state[PROJECT] = asked
    elif st.session_state.get(PROJECT):
        st.query_params[PROJECT] = st.session_state[PROJECT]


def choose_project(id_: str) -> None:
    """Open a project in this tab; "" closes it. Callbacks may call this."""
    st.session_state[PROJECT] = id_
    for key in (GROUP, CRITERION):
        st.session_state.pop(key, None)
    for key in (GROUP, RUN):
        st.query_params.pop(key, None)
    if id_:
        st.query_params[PROJECT] = id_
    else:
        st.query_params.pop(PROJECT, None)


def current_project() -> Project | None:
    """The open project, or None; a link to a project that is gone says so once and opens nothing."""
    id_ = st.session_state.get(PROJECT, "")
    if not id_:
        return None
    try:
        return open_project(workspace(), id_)
    except CpdError as error:
        choose_project("")
        st.warning(str(error), icon=":material/link_off:")
        return None


def folder(project: Project) -> Path:
    return project_folder(workspace(), project.id)


def choose_group(name: str) -> None:
    """Make `name` the group that is looked at. Callbacks may call this."""
    st.session_state[GROUP] = name
    st.query_params[GROUP] = name


def chosen_group(comb: Combed) -> str:
    """The group that is looked at: as the link says, as last chosen, else the first that can be pruned."""
    for name in (st.query_params.get(GROUP), st.session_state.get(GROUP)):
        if name in comb.record.by_name:
            break
    else:
        free = [group.name for group in comb.record.groups if group.prunable]
        name = (free or comb.names)[0]
    choose_group(name)
    return name


# Cached reads --------------------------------------------------------------------------------------------------------


def stamp(path: Path) -> Stamp | None:
    """What tells one version of a file from the next; None where there is no file."""
    try:
        info = path.stat()
    except OSError:
        return None
    return str(path), info.st_mtime_ns, info.st_size


@dataclass(frozen=True, eq=False)
class Combed:
    """A comb with what screens derive from it; shared by all sessions, never changed."""

    record: CombRecord
    cost: CostModel

    @cached_property
    def layers(self) -> list[Layer]:
        return layers(self.record, self.cost.operator_macs(self.cost.sizes(self.cost.dead({}))).tolist())

    def widths(self, plan: Plan) -> list[int]:
        """Output channels of every layer that the plan leaves."""
        return widths_left(self.layers, self.cost.sizes(self.cost.dead(plan.keep)).tolist())

    @cached_property
    def states(self) -> dict[str, str]:
        return {group.name: state_of(group) for group in self.record.groups}

    @property
    def names(self) -> list[str]:
        return [group.name for group in self.record.groups]


@st.cache_resource(max_entries=8, show_spinner=False)
def _combed(names: Stamp, numbers: Stamp) -> Combed:
    record = CombRecord.load(Path(names[0]).parent)
    return Combed(record, CostModel(record))


def combed(project: Project) -> Combed | None:
    """The project's comb, None before it is made. Raises StorageError when its files are damaged."""
    names, numbers = (stamp(folder(project) / file) for file in ("comb.json", "comb.npz"))
    return None if names is None or numbers is None else _combed(names, numbers)


@st.cache_resource(max_entries=32, show_spinner=False)
def _scores(mark: Stamp) -> ScoreTable:
    return ScoreTable.load(Path(mark[0]))


def scores(project: Project, comb: Combed) -> dict[str, ScoreTable]:
    """Score tables of this comb by criterion; tables of another architecture, and damaged ones, are left out."""
    return {table.criterion: table for table in _score_tables(project)[0] if table.model == comb.record.model}


def scores_left_out(project: Project, comb: Combed) -> tuple[int, tuple[str, ...]]:
    """How many score tables are of another comb, and in words why others cannot be read."""
    tables, problems = _score_tables(project)
    return sum(table.model != comb.record.model for table in tables), problems


def _score_tables(project: Project) -> tuple[list[ScoreTable], tuple[str, ...]]:
    tables, problems = [], []
    for path in sorted((folder(project) / "scores").glob("*.json")):
        mark = stamp(path)
        if mark is None:
            continue
        try:
            tables.append(_scores(mark))
        except CpdError as error:
            problems.append(str(error))
    return tables, tuple(problems)


@st.cache_resource(max_entries=8, show_spinner=False)
def _sensitivity(mark: Stamp) -> SensitivityTable:
    return SensitivityTable.load(Path(mark[0]))


def sensitivity(project: Project) -> SensitivityTable | None:
    """What the newest scan found so far, None before the first; `model` says which comb it was made of.

    Raises StorageError when the file is damaged."""
    mark = stamp(folder(project) / SENSITIVITY)
    return None if mark is None else _sensitivity(mark)


@st.cache_resource(max_entries=16, show_spinner=False)
def _plan(mark: Stamp) -> Plan:
    return Plan.load(Path(mark[0]))


def plan(project: Project, comb: Combed) -> Plan | None:
    """The project's current plan, None where there is none or it belongs to another comb."""
    mark = stamp(plan_path(project))
    if mark is None:
        return None
    try:
        found = _plan(mark)
        found.check(comb.record)
    except CpdError:
        return None
    return found


def plan_path(project: Project) -> Path:
    return folder(project) / "plan.json"


@st.cache_resource(max_entries=64, show_spinner=False)
def _json(mark: Stamp) -> Any:
    try:
        return json.loads(Path(mark[0]).read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{mark[0]}: cannot be read ({error}); run the step again.") from error


def read_json(path: Path) -> Mapping[str, Any] | None:
    """A JSON file, None where there is none; shared by all sessions, never changed. Raises RunError when it is damaged."""
    mark = stamp(path)
    return None if mark is None else _json(mark)


def doctor(project: Project, comb: Combed) -> Findings | None:
    """What the doctor found of this comb, None where it has not looked or looked at another model."""
    row = read_json(folder(project) / "doctor.json")
    found = None if row is None else Findings.from_dict(row)
    return found if found is not None and found.digest == comb.record.model else None


def baseline(project: Project) -> Measurement | None:
    """Measurement of the dense model, None before it is made."""
    row = read_json(folder(project) / "baseline.json")
    return None if row is None else Measurement.from_dict(row, "baseline.json")
