"""At which cut answers changed: from the answers that a run kept at every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import palette, state
from app.charts.frame import tools
from app.charts.training import Series, over_steps
from app.compare import Entry
from app.widgets.compare_cuts import after, cut_marks, measured_at
from cpd.measure.answers import Answers, Labelled
from cpd.measure.history import History, IntArray, window
from cpd.runs.finished import FinishedRun
from cpd.runs.store import Event


@dataclass(frozen=True, eq=False)
class Changed:
    """When the answers of one run changed.

    Attributes:
        since: (K,) step of the evaluation from which the answer to an image of the sample stays another one; -1 for never.
        was_right: (K,) whether the dense model was right.
    """

    history: History
    events: Sequence[Event]
    answers: Answers
    since: IntArray
    was_right: IntArray
    dense: IntArray

    def of_image(self, number: int) -> list[str]:
        """Lines for the picture of an image; none where it is not of the sample, or not settled at the end."""
        found = self.since[self.history.numbers == number]
        return [f"since step {int(found[0]):,}", window(self.events, self.history.steps, int(found[0])).words] if len(found) and found[0] >= 0 else []

    def of_confusion(self, true: str, taken: str) -> tuple[int | None, str]:
        """The step since which there is a confusion, None where the sample does not show it; and what was cut before."""
        classes = list(self.answers.classes)
        step = self.history.confused_since(self.dense, self.answers.targets, classes.index(true), classes.index(taken))
        return step, "" if step is None else after(self.events, self.history.steps, step)

    def table(self) -> pd.DataFrame:
        """One row an evaluation at which answers changed for good."""
        rows = []
        for step in self.history.steps.tolist():
            now = self.since == step
            if now.any():
                rows.append({"Step": step, "Changed for good": int(now.sum()), "Right before": int((now & self.was_right).sum()), "After": after(self.events, self.history.steps, step)})
        return pd.DataFrame(rows, columns=["Step", "Changed for good", "Right before", "After"])


def when_changed(run: FinishedRun, answers: Answers) -> Changed | None:
    """None where the run kept no answers on its way: it is of an earlier version, or its answers are maps."""
    if not isinstance(answers.dense, Labelled):
        return None
    history = History.of(run.events, answers.images)
    if history is None:
        return None
    dense = answers.dense.answer
    right = (dense == answers.targets)[history.numbers]
    return Changed(history, run.events, answers, history.changed_at(dense), right, dense)


def when_view(each: Entry, found: Changed) -> None:
    """How many answers differed at every evaluation, with the cuts; and at which evaluation they changed for good."""
    history = found.history
    kept = len(history.numbers)
    with st.container(border=True):
        st.markdown("**When answers changed**", help="The run notes its answers at every evaluation. An answer counts from the first evaluation after which it stays another one.")
        left, right = st.columns([3, 2], gap="medium")
        apart, lost = history.differing(found.dense, found.answers.targets)
        steps = history.steps.tolist()
        series = [
            Series("another answer", steps, (apart / kept).tolist(), palette.STUDENT, markers=True),
            Series("of these right before", steps, (lost / kept).tolist(), palette.CUT, dash="dot", markers=True),
        ]
        left.plotly_chart(over_steps(series, "Share of images", marks=cut_marks(found.events), share=True, zero=True, explain=True, height=300, dark=state.is_dark()),
                          key=f"compare.when.{each.id}", config=tools(), alt=f"Share of images with another answer than the dense model's over the steps of {each.letter}, with its cuts")  # fmt: skip
        table = found.table()
        if len(table):
            right.dataframe(table, hide_index=True, height="content" if len(table) <= 7 else 290, alt="Evaluations at which answers changed for good, and what was cut before",
                            column_config={"After": st.column_config.TextColumn(width="large")})  # fmt: skip
        else:
            right.caption("No answer of the sample is another one at the end.")
        st.caption(measured_at(found.events, history.steps, kept, found.answers.images))
