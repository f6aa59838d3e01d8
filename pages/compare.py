"""Compare: finished runs against each other and against baselines, and what pruning changed in the answers."""

from __future__ import annotations

import streamlit as st

from app import engine, finished, guards
from app.compare import Entry
from app.numbers import count, milliseconds, percent, times
from app.plain import plain
from app.widgets import chrome
from app.widgets.compare_baselines import baselines, links
from app.widgets.compare_changed import changed_view
from app.widgets.compare_charts import curves_view, front_view, parallel_view
from app.widgets.compare_choice import chosen_runs, entries, focus_of
from app.widgets.compare_table import in_words, table
from app.widgets.jobs import job_panel
from app.widgets.run_note import note_line
from app.widgets.steering import summary
from cpd.measure.metrics import words

UNDER_WAY = ("The first run is under way", "It appears here once it has finished and was measured.", "hourglass_top")

chrome.head("Compare", "Finished runs against each other, the dense model and baselines: what each costs, what it buys, and what changed in its answers.")
project = guards.project()
known = finished.beside(project)


def nothing(title: str, text: str) -> None:
    """End the page: no run has finished, for this reason if none is under way."""
    chrome.note(*(UNDER_WAY if engine.active(project, ("distill",)) else (title, text, "scatter_plot")))
    job_panel(project, ("distill",), "compare")
    chrome.go("run")
    st.stop()


if not known:
    nothing("Nothing to compare yet", "Finish a run first; with two or more, this is where to choose between them.")


def looked_at(each: Entry) -> None:
    """The run in focus in a few numbers, and what can be done about it."""
    dense, pruned = each.run.dense, each.run.pruned
    metric = words(pruned.metric)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"### {each.letter}", width="content")
        st.badge(f"{each.baseline} baseline" if each.baseline else "run", color="gray" if each.baseline else "green")
    st.markdown(f"**{plain(each.id)}**")
    run = engine.run(each.id)
    st.caption(plain(f"{each.run.spec.model} · {summary(run)}"))
    note_line(run.note)
    if pruned.quality is not None:
        st.metric(metric.title, percent(pruned.quality, 2), f"{in_words(each.change)} points" if each.change else None, delta_color="off", delta_arrow="off",
                  help=f"{metric.about} On {pruned.images:,} held-out images; the change against the dense model has a 95 % interval.")  # fmt: skip
    for row in pruned.latency[-1:]:
        before = dense.at(row.batch)
        st.metric(f"Latency, batch {row.batch}", milliseconds(row.median_ms), f"{times(before.median_ms / row.median_ms)} as fast as the dense model" if before else None,
                  delta_color="off", delta_arrow="off", help=chrome.TERMS["latency"])  # fmt: skip
    st.metric(
        "MACs per sample",
        count(pruned.macs),
        f"{percent(pruned.macs / dense.macs)} of the dense model",
        delta_color="off",
        delta_arrow="off",
        help=chrome.TERMS["macs"],
    )
    links(each)
    baselines(each)


chosen = chosen_runs(project, known)
if not chosen:
    nothing("No run of this project has finished", "Finish one first, or choose runs of other projects with the same data above.")
found = entries(chosen)
if not found:
    chrome.note("None of these runs can be read", "Choose others above; what is wrong with each is said there.", "heart_broken")
    chrome.go("run")
    st.stop()
focus = focus_of(found)
job_panel(project, ("distill",), "compare")
if len(found) == 1:
    st.info("One run so far. Add another, or baselines at the same MACs, to see what it is worth.", icon=":material/info:")

left, right = st.columns([5, 2], gap="medium")
with left.container(border=True, height="stretch"):
    axis = front_view(found, focus)
with right.container(border=True, height="stretch"):
    looked_at(focus)
with st.container(border=True):
    table(found, axis, focus)
left, right = st.columns(2, gap="medium")
with left.container(border=True, height="stretch"):
    curves_view(found, focus)
with right.container(border=True, height="stretch"):
    parallel_view(found, focus)
changed_view(focus)
chrome.onward("present")
