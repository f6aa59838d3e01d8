"""The plan that is being edited: its branches on disk, the draft that is shown, and every way to change it.

Data flows one way: an edit becomes a step of the open branch, the branch and plan.json are written, the page is drawn
from them. All tabs and a restarted app see the same; `plan.json` is what runs and the other screens read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import streamlit as st

from app import history, state, typed
from app.draft import Draft
from app.history import Branch, Step
from cpd.access import may_change, require_change
from cpd.errors import CpdError, PlanError
from cpd.files import replacing
from cpd.prune.plan import Plan, Scores
from cpd.runs.project import Project

MADE, OPEN, VERSION, SEEN, SHOWN, ERROR, SELECTED = "plan.made", "plan.open", "plan.version", "plan.seen", "plan.shown", "plan.error", "plan.selected"
BRANCH = "branch"  # query string

Edit = Callable[[Draft], Draft]


@dataclass(frozen=True)
class Desk:
    """Everything an edit needs to become a plan on disk."""

    project: Project
    comb: state.Combed

    @cached_property
    def path(self) -> Path:
        return state.plan_path(self.project)

    @cached_property
    def folder(self) -> Path:
        """Where the branches are."""
        return self.path.parent / "branches"

    @property
    def model(self) -> str:
        return self.comb.record.model

    # What is shown ---------------------------------------------------------------------------------------------------

    @property
    def branch(self) -> Branch:
        """The open branch as it is on disk. A plan that the command line has written since is one more step of it."""
        file = history.current(self.folder) or history.MAIN
        mark = (self.project.id, self.model, file, state.stamp(self.folder / f"{file}.json"))
        kept = st.session_state.get(OPEN)
        if kept is None or kept[0] != mark or mark[3] is None:  # not on disk: what it begins with may have changed since
            branch = self._read(file) or self._first()
            if kept is None or kept[0] != mark or kept[1].now != branch.now:
                self._show(branch)
        seen = state.stamp(self.path)
        if seen is not None and st.session_state.get(SEEN) != seen and may_change():
            st.session_state[SEEN] = seen
            branch = st.session_state[OPEN][1]
            other = self._plan_on_disk()
            if other is not None and other != replace(branch.now, held=other.held, floor=other.floor):
                self.write(branch.then(replace(other, held=branch.now.held), "taken from plan.json, written elsewhere"))
        found: Branch = st.session_state[OPEN][1]
        return found

    @property
    def draft(self) -> Draft:
        return self.branch.now

    @property
    def version(self) -> int:
        """Rises with every change that did not come from the table: another one then starts from the new values. The same
        one would not do even where the browser keeps nothing on top of it: having lost the focus, it misses a click."""
        number: int = st.session_state.get(VERSION, 0)
        return number

    def scores(self, criterion: str) -> Scores | None:
        """Scores by group, None where this criterion has not been scored."""
        table = state.scores(self.project, self.comb).get(criterion)
        return None if table is None else table.groups

    def plan(self, draft: Draft | None = None) -> Plan:
        """The plan that a draft makes, by default the one shown. The last one is remembered: an edit writes it, and the
        page draws it right after."""
        draft = self.draft if draft is None else draft
        scores = self.scores(draft.criterion)
        kept = st.session_state.get(MADE)
        if kept is None or kept[0] is not draft or kept[1] is not scores or kept[2] is not self.comb:
            kept = (draft, scores, self.comb, draft.plan(self.comb.record, scores))
            st.session_state[MADE] = kept
        plan: Plan = kept[3]
        return plan

    def branches(self) -> list[Branch]:
        """All branches of this model, the open one first; files that cannot be read are left out and left alone."""
        now = self.branch
        others = [self._read(path.stem) for path in history.files(self.folder) if path.stem != now.file]
        return [now, *(branch for branch in others if branch is not None)]

    # What changes it -------------------------------------------------------------------------------------------------

    def apply(self, draft: Draft, what: str = "edited", *, from_table: bool = False) -> None:
        """One step further: shown, and written to disk."""
        self.write(self.branch.then(draft, what), from_table=from_table)

    def take(self) -> None:
        """Take what was typed into the table and is not in the plan yet, as one step. The table goes on where the plan
        came out as typed, and begins anew from the plan's values where it did not."""
        for table, new, held in typed.fresh():
            ticks = {group: bool(cells["pick"]) for group, cells in new.items() if "pick" in cells}
            if ticks:
                pick(ticks, self.comb)
            before, shown = self.draft, table.version == self.version
            other = typed.asked(new, before)
            if other:
                after = before.edited(other)
                try:
                    self.apply(after, typed.words(before, after, sorted(other)), from_table=True)
                except CpdError:
                    self.begin_table()
                    raise
            if shown and typed.asked(held, self.draft):
                self.begin_table()

    def begin_table(self) -> None:
        """The next table starts from the plan's own values, whatever the browser holds on top of the one shown."""
        st.session_state[VERSION] = self.version + 1

    def step(self, forward: bool) -> None:
        """Undo or redo; nothing where there is no such step."""
        branch = self.branch
        other = branch.redo() if forward else branch.undo()
        if other.position != branch.position:
            self.write(other)

    def go(self, position: int) -> None:
        """Show another step of the open branch."""
        self.write(self.branch.at(position))

    def write(self, branch: Branch, *, from_table: bool = False) -> None:
        """Show a branch as it is now and write it with its plan. Raises CpdError when the disk refuses; the screen shows
        what is on disk then."""
        plan = self.plan(branch.now)
        history.save(self.folder, branch, self.model)
        if history.current(self.folder) != branch.file:
            history.make_current(self.folder, branch)
        self._show(branch, quietly=from_table)
        with replacing(self.path) as file:  # another tab may be reading it
            file.write(plan.to_json().encode())
        st.session_state[SEEN] = state.stamp(self.path)

    def open(self, file: str) -> None:
        """Make another branch the open one."""
        branch = self._read(file)
        if branch is None:
            raise PlanError(f"there is no branch {file!r} of this plan any more.")
        self.write(branch)

    def start_branch(self, name: str) -> None:
        """A new branch that begins where the open one is, with its history so far."""
        name = name.strip()
        if not name:
            raise PlanError("a branch needs a name.")
        if any(branch.name == name for branch in self.branches()):
            raise PlanError(f"there is a branch {name!r} already; choose another name.")
        now = self.branch
        if not (self.folder / f"{now.file}.json").exists():
            history.save(self.folder, now, self.model)  # nothing was done in it yet, so it is not on disk
        begun = now.steps[: now.position + 1]
        self.write(Branch(name, begun, len(begun) - 1, "", history.new_file(self.folder, name)))

    def note(self, text: str) -> None:
        """What the user writes about the open branch."""
        self.write(replace(self.branch, note=text.strip()), from_table=True)

    def delete(self, file: str) -> None:
        """Delete a branch that is not open."""
        if file != self.branch.file:
            require_change("delete a branch")
            (self.folder / f"{file}.json").unlink(missing_ok=True)

    # Between disk and session ----------------------------------------------------------------------------------------

    def _show(self, branch: Branch, quietly: bool = False) -> None:
        mark = (self.project.id, self.model, branch.file, state.stamp(self.folder / f"{branch.file}.json"))
        st.session_state[OPEN] = (mark, branch)
        if not quietly:
            self.begin_table()

    def _read(self, file: str) -> Branch | None:
        mark = state.stamp(self.folder / f"{file}.json")
        if mark is None or Path(mark[0]).parent != self.folder:
            return None
        try:
            return _branch(mark, self.model)
        except CpdError:
            return None

    def _first(self) -> Branch:
        """Where there is no branch yet: the plan on disk, else nothing cut and units ranked by the first criterion."""
        draft = self._plan_on_disk()
        what = "taken from plan.json" if draft else "nothing cut yet"
        if draft is None:
            scored = state.scores(self.project, self.comb)
            draft = Draft(criterion=next((name for name in ("fisher", "taylor", "l2", *scored) if name in scored), ""))
        taken = {path.stem for path in history.files(self.folder)}
        file = history.MAIN if history.MAIN not in taken else history.new_file(self.folder, history.MAIN)
        return Branch(file, (Step(draft, what),), file=file)

    def _plan_on_disk(self) -> Draft | None:
        plan = state.plan(self.project, self.comb)
        return None if plan is None else Draft.of(plan)


@st.cache_resource(max_entries=64, show_spinner=False)
def _branch(mark: state.Stamp, model: str) -> Branch | None:
    return history.load(Path(mark[0]), model)


def follow_link(desk: Desk) -> None:
    """Show what a link names, once: its branch and its selected groups. Afterwards the address follows the screen."""
    asked, shown = st.query_params.get(BRANCH), st.session_state.get(SHOWN, ("", ""))
    begun = shown[0] != desk.project.id
    if begun:
        select(st.query_params.get_all(state.GROUP))
    now = desk.branch
    if asked and asked not in ("" if begun else shown[1], now.file):
        try:
            desk.open(asked)
            now = desk.branch
        except CpdError as error:
            say(error)
    st.session_state[SHOWN] = (desk.project.id, now.file)
    if st.query_params.get(BRANCH) != now.file:
        st.query_params[BRANCH] = now.file
    chosen = selected(desk.comb)
    if st.query_params.get_all(state.GROUP) != chosen:
        st.query_params[state.GROUP] = chosen


def attempt(desk: Desk, action: Callable[..., Any] | None = None, *arguments: Any) -> None:
    """Do what a widget asks, as its callback, after what was typed before it; what does not fit is said on the page and
    changes nothing."""
    try:
        desk.take()
        if action is not None:
            action(*arguments)
    except CpdError as error:
        say(error)


def say(error: CpdError) -> None:
    """Keep an error of a callback for the page that is drawn next."""
    st.session_state[ERROR] = str(error)


def said() -> str:
    """The error that a callback left, once."""
    text: str = st.session_state.pop(ERROR, "")
    return text


# The selection: groups that the next bulk action is for ---------------------------------------------------------------


def selected(comb: state.Combed) -> list[str]:
    """Selected groups in forward order."""
    chosen = st.session_state.get(SELECTED, frozenset())
    return [group.name for group in comb.record.groups if group.prunable and group.name in chosen]


def select(names: Iterable[str]) -> None:
    """These groups and no others. The table begins anew: its ticks may say otherwise."""
    st.session_state[SELECTED] = frozenset(names)
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1


def pick(ticks: Mapping[str, bool], comb: state.Combed) -> None:
    """Add groups to the selection or take them out, as ticked in the table. A tick at a locked group is taken back."""
    chosen = set(st.session_state.get(SELECTED, frozenset()))
    for name, on in ticks.items():
        (chosen.add if on else chosen.discard)(name)
    st.session_state[SELECTED] = frozenset(chosen)
    if any(on and not comb.record.by_name[name].prunable for name, on in ticks.items()):
        select(selected(comb))
