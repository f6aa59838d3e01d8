"""Since which cut pixels have been other ones: from what a run kept of its maps at every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from app import palette, state
from app.charts.frame import tools
from app.charts.training import Series, over_steps
from app.compare import Entry
from app.widgets.compare_cuts import after, cut_marks, measured_at
from cpd.measure.answers import Answers, Mapped
from cpd.measure.history import IntArray, window
from cpd.measure.map_history import MapHistory
from cpd.runs.finished import FinishedRun
from cpd.runs.store import Event

MOST_ROWS = 40  # classes in the table, those that lost most first


@dataclass(frozen=True, eq=False)
class PixelsChanged:
    """When the maps of one run changed.

    Attributes:
        since: (K,) step of the evaluation from which an image of the sample has lost at least half of the pixels that it
            has lost at the end; -1 for none.
        lost: (C,) the same of a class's loss of IoU.
        before: (C,) IoU of the dense model.
    """

    history: MapHistory
    events: Sequence[Event]
    answers: Answers
    since: IntArray
    lost: IntArray
    before: np.ndarray

    def of_image(self, number: int) -> list[str]:
        """A line for the picture of an image; none where it is not of the sample."""
        found = self.since[self.history.numbers == number]
        return [f"half of them since step {int(found[0]):,}, {window(self.events, self.history.steps, int(found[0])).words}"] if len(found) and found[0] >= 0 else []

    def of_confusion(self, true: str, taken: str) -> tuple[int | None, str]:
        """The step since which there is at least half of a confusion, None where that is not known; and what was cut before."""
        classes = list(self.answers.classes)
        step = self.history.confused_since(self.answers.confusion("dense"), classes.index(true), classes.index(taken))
        return step, "" if step is None else after(self.events, self.history.steps, step)

    def table(self) -> pd.DataFrame:
        """One row an evaluation: how far maps were from the dense model's, how many images went over, and after which cuts."""
        apart = self.history.apart.mean(1)
        rows = [
            {
                "Step": step,
                "After": window(self.events, self.history.steps, step).words,
                "Apart": 100 * share,
                "More": 100 * (share - before),
                "Images over": int((self.since == step).sum()),
                "Groups": ", ".join(window(self.events, self.history.steps, step).groups),
            }
            for step, share, before in zip(self.history.steps.tolist(), apart.tolist(), [0.0, *apart[:-1].tolist()], strict=True)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def classes(self) -> pd.DataFrame:
        """One row a class that ends below the dense model, those that lost most first."""
        end = self.history.classes[-1]
        rows = [
            {"Class": self.answers.classes[number], "Dense": 100 * self.before[number], "Pruned": 100 * end[number], "Points": 100 * (end[number] - self.before[number]),
             "Half of it since step": int(self.lost[number]), "After": after(self.events, self.history.steps, int(self.lost[number]))}
            for number in np.argsort(np.nan_to_num(end - self.before), kind="stable") if self.lost[number] >= 0
        ]  # fmt: skip
        return pd.DataFrame(rows[:MOST_ROWS], columns=["Class", "Dense", "Pruned", "Points", "Half of it since step", "After"])


def when_pixels_changed(run: FinishedRun, answers: Answers) -> PixelsChanged | None:
    """None where the run kept nothing of its maps on the way, as one of an earlier version."""
    assert isinstance(answers.dense, Mapped)
    history = MapHistory.of(run.events, answers.images, len(answers.classes))
    if history is None:
        return None
    before = answers.per_class("dense")
    return PixelsChanged(history, run.events, answers, history.changed_at(), history.lost_at(before), before)


def when_pixels_view(each: Entry, found: PixelsChanged) -> None:
    """How far the maps were from the dense model's at every evaluation, with the cuts; and when images and classes went over."""
    history = found.history
    steps = history.steps.tolist()
    with st.container(border=True):
        st.markdown("**When pixels changed**", help="The run compares its maps with the dense model's at every evaluation. An image has gone over at the first evaluation from which at least "
                    "half of the pixels that it has lost at the end are other ones; a class, from which at least half of its loss is there.")  # fmt: skip
        left, right = st.columns([3, 2], gap="medium")
        series = [
            Series("mean of the images", steps, history.apart.mean(1).tolist(), palette.STUDENT, markers=True),
            Series("90th percentile of the images", steps, np.quantile(history.apart, 0.9, axis=1).tolist(), palette.CUT, dash="dot", markers=True),
        ]
        left.plotly_chart(over_steps(series, "Share of pixels apart", marks=cut_marks(found.events), share=True, zero=True, explain=True, height=300, dark=state.is_dark()),
                          key=f"compare.when.{each.id}", config=tools(), alt=f"Share of pixels with another class than the dense model's over the steps of {each.letter}, with its cuts")  # fmt: skip
        table = found.table()
        right.dataframe(table, hide_index=True, height="content" if len(table) <= 7 else 290, alt="Pixels apart and images that went over at every evaluation, and what was cut before",
                        column_config={"Apart": st.column_config.NumberColumn(format="%.1f %%", help="Pixels with another class than the dense model's, mean of the images"),
                                       "More": st.column_config.NumberColumn(format="%+.1f", help="Points more than at the evaluation before"),
                                       "Images over": st.column_config.NumberColumn(help="Images that went over here"), "Groups": st.column_config.TextColumn(width="large")})  # fmt: skip
        classes = found.classes()
        if len(classes):
            st.markdown("**Classes that lost**")
            st.dataframe(classes, hide_index=True, height="content" if len(classes) <= 7 else 290, alt="Classes whose IoU fell, since when and after which cuts",
                         column_config={"Dense": st.column_config.NumberColumn(format="%.1f %%"), "Pruned": st.column_config.NumberColumn(format="%.1f %%"),
                                        "Points": st.column_config.NumberColumn(format="%+.1f"), "After": st.column_config.TextColumn(width="large")})  # fmt: skip
        else:
            st.caption("No class ends below the dense model.")
        st.caption(measured_at(found.events, history.steps, len(history.numbers), found.answers.images))
