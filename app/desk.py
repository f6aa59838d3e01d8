"""The plan that is being edited in this tab: its history in the session, its newest version on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from app import state
from app.draft import Draft, History
from cpd.errors import CpdError
from cpd.files import replacing, write_json
from cpd.prune.plan import Constraints, Plan, Scores
from cpd.runs.project import Project

HISTORY, VERSION, SEEN = "plan.history", "plan.version", "plan.seen"


@dataclass(frozen=True)
class Desk:
    """Everything an edit needs to become a plan on disk."""

    project: Project
    comb: state.Combed

    @property
    def path(self) -> Path:
        return state.plan_path(self.project)

    @property
    def held_path(self) -> Path:
        """Which rows are held is no part of a plan; it lies beside it."""
        return self.path.with_name("plan-held.json")

    @property
    def history(self) -> History:
        """This tab's history of this project's plan. It begins with the plan on disk; a plan that another tab or the
        command line has written since is one more step, so undo leads back to what was here."""
        key, mark = (self.project.id, self.comb.record.model), state.stamp(self.path)
        kept = st.session_state.get(HISTORY)
        if kept is None or kept[0] != key:
            self._show(key, History((self._on_disk() or self._fresh(),)))
        elif st.session_state.get(SEEN) != mark and mark is not None:
            other = self._on_disk()
            if other is not None:
                self._show(key, kept[1].then(other))
        st.session_state[SEEN] = mark
        history: History = st.session_state[HISTORY][1]
        return history

    @property
    def draft(self) -> Draft:
        return self.history.now

    def scores(self, criterion: str) -> Scores | None:
        """Scores by group, None where this criterion has not been scored."""
        table = state.scores(self.project, self.comb).get(criterion)
        return None if table is None else table.groups

    def plan(self, draft: Draft | None = None) -> Plan:
        draft = self.draft if draft is None else draft
        return draft.plan(self.comb.record, self.scores(draft.criterion))

    def apply(self, draft: Draft) -> None:
        """One step further: shown, and written to disk."""
        self.move(self.history.then(draft))

    def move(self, history: History) -> None:
        """Show another draft of the history. Raises CpdError when the plan cannot be written; nothing is lost then."""
        self._show((self.project.id, self.comb.record.model), history)
        with replacing(self.path) as file:  # another tab may be reading it
            file.write(self.plan().to_json().encode())
        write_json(self.held_path, sorted(history.now.held))
        st.session_state[SEEN] = state.stamp(self.path)

    @property
    def version(self) -> int:
        """Rises with every change, so that the table starts from the new values and not from old edits on top."""
        number: int = st.session_state.get(VERSION, 0)
        return number

    def _show(self, key: tuple[str, str], history: History) -> None:
        st.session_state[HISTORY] = (key, history)
        st.session_state[VERSION] = self.version + 1

    def _fresh(self) -> Draft:
        """Nothing is cut yet; the first criterion that has been scored ranks the units."""
        scored = state.scores(self.project, self.comb)
        best = next((name for name in ("fisher", "taylor", "l2", *scored) if name in scored), "")
        return Draft(criterion=best)

    def _on_disk(self) -> Draft | None:
        plan = state.plan(self.project, self.comb)
        if plan is None:
            return None
        try:
            held = frozenset(json.loads(self.held_path.read_text())) & set(self.comb.names)
        except (OSError, ValueError, TypeError):
            held = frozenset()
        return Draft.of(plan, frozenset(held))


def say(error: CpdError) -> None:
    """Keep an error of a callback for the page that is drawn next."""
    st.session_state["plan.error"] = str(error)


def replace_choices(draft: Draft, criterion: str, constraints: Constraints) -> Draft:
    """The draft with other units chosen and other widths allowed; a ratio asked for stays what it was."""
    return replace(draft, criterion=criterion, constraints=constraints)
