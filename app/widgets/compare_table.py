"""The runs in one table, every difference with its interval, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import compare, finished
from app.compare import Axis, Entry
from app.numbers import DASH, count, milliseconds, percent, times
from app.widgets.compare_choice import from_table
from cpd.measure.answers import Difference
from cpd.measure.metrics import words
from cpd.report.words import points, points_range


def table(entries: Sequence[Entry], axis: Axis, focus: Entry) -> None:
    """One row a run; a click looks at it."""
    frame = rows(entries, axis, focus)
    names = [each.id for each in entries]
    key = f"compare.table.{'.'.join(names)}.{focus.id}"
    st.dataframe(frame, key=key, hide_index=True, on_select=lambda: from_table(names, key), selection_mode="single-row",
                 selection_default={"selection": {"rows": [names.index(focus.id)], "columns": []}}, alt="The runs, one a row, with their differences")  # fmt: skip
    st.caption("Differences are in percentage points with 95 % intervals, paired over the same held-out images where the runs kept their answers; latencies are medians, and how many times as fast as the dense model. "
               f"Unbeaten: no other network here is at least as good and as cheap by {axis.title}, and better in one of the two.")  # fmt: skip
    apart = compare.settings_apart(entries)
    if len(entries) > 1:
        with st.expander("Settings that differ" if apart else "All settings are the same", icon=":material/tune:"):
            if apart:
                shown = pd.DataFrame({"Setting": list(apart), **{each.letter: [row[i] for row in apart.values()] for i, each in enumerate(entries)}})
                st.dataframe(shown, hide_index=True, alt="Settings that are not the same in all runs")
            else:
                st.caption("Model, data, seed, target and every training setting.")


def rows(entries: Sequence[Entry], axis: Axis, focus: Entry) -> pd.DataFrame:
    """The table as text; columns that no run has anything for are left out."""
    metric = words(focus.run.pruned.metric)
    places, best = compare.places(entries, axis)
    unbeaten = {places[number].id for number in best}
    batches = sorted({row.batch for each in entries for row in each.run.pruned.latency})
    held = sorted({row.batch for each in entries for row in each.run.pruned.memory})
    listed = []
    for each in entries:
        dense, pruned = each.run.dense, each.run.pruned
        row = {
            "Run": f"{each.letter} · {each.baseline}" if each.baseline else each.letter,
            "Unbeaten": "yes" if each.id in unbeaten else "",
            metric.short: percent(pruned.quality, 2),
            "Against dense, points": in_words(each.change),
            f"Against {focus.letter}, points": DASH if each is focus else in_words(finished.apart(each.id, focus.id)),
        }
        for batch in batches:
            a, b = dense.at(batch), pruned.at(batch)
            row[f"Latency, batch {batch}"] = DASH if b is None else milliseconds(b.median_ms) + (f" ({times(a.median_ms / b.median_ms)})" if a else "")
        for batch in held:
            a, b = dense.memory_at(batch), pruned.memory_at(batch)
            row[f"Peak memory, batch {batch}"] = DASH if b is None else count(b, "B") + (f" ({percent(b / a, 0)})" if a else "")
        row |= {
            "MACs": f"{count(pruned.macs)} ({percent(pruned.macs / dense.macs, 0)})" if dense.macs else count(pruned.macs),
            "Parameters": f"{count(pruned.parameters)} ({percent(pruned.parameters / dense.parameters, 0)})",
            "File": DASH if each.size_bytes is None else count(each.size_bytes, "B"),
            "Id": each.id,
            "Note": each.run.note,
        }
        listed.append(row)
    frame = pd.DataFrame(listed)
    if not frame["Note"].any():
        frame = frame.drop(columns="Note")
    return frame if len(entries) > 1 else frame.drop(columns=[f"Against {focus.letter}, points", "Unbeaten"])


def in_words(change: Difference | None) -> str:
    """ "−1.3 (−2.6 to −0.1)": percentage points."""
    if change is None:
        return DASH
    value, ends = points(change.value).removesuffix(" points"), points_range(change.low, change.high).removesuffix(" points")
    return value if change.low == change.high else f"{value} ({ends})"
