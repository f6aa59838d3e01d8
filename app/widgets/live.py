"""The panel of one run: what it does now, its curves, its outcome. Drawn again every second while the run is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import engine, palette, state
from app.charts.training import Level, Mark, Series, over_steps, width_map
from app.numbers import duration, milliseconds, percent, points
from app.widgets.chrome import TERMS
from app.widgets.jobs import TICK_S, how_far
from app.widgets.measured import change
from app.widgets.outcome import outcome
from cpd.errors import CpdError
from cpd.measure.measurement import Measurement
from cpd.measure.metrics import Words, words
from cpd.runs import store
from cpd.runs.control import resume
from cpd.runs.launcher import read_log
from cpd.runs.project import Project

Recorded = Mapping[str, store.Series]
PLAIN = {"displayModeBar": False}
BADGES: dict[str, tuple[Any, str]] = {
    "queued": ("gray", ":material/hourglass_empty:"),
    "running": ("blue", ":material/progress_activity:"),
    "stopping": ("orange", ":material/stop_circle:"),
    "stopped": ("orange", ":material/stop_circle:"),
    "finished": ("green", ":material/check_circle:"),
    "failed": ("red", ":material/error:"),
}


def run_panel(project: Project, comb: state.Combed, run_id: str) -> None:
    """Live while the run is unfinished; one full rerun when it ends, so that the outcome and the buttons follow."""
    polling = not engine.store().run(run_id).is_over

    @st.fragment(run_every=TICK_S if polling else None, key=f"live.{run_id}.{polling}")
    def panel() -> None:
        run = engine.store().run(run_id)
        header(run)
        if run.state == "finished":
            outcome(project, run)
        curves(run, engine.metrics(run_id), state.baseline(project), comb)
        if polling and run.is_over:
            st.rerun()

    panel()


def header(run: store.Run) -> None:
    """State, progress, time left, and the button that fits the state."""
    colour, icon = BADGES[run.state]
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        with left, st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(run.state, icon=icon, color=colour)
            st.markdown(f"**{run.id}**")
            st.caption(summary(run))
        with right:
            if not run.is_over:
                st.button("Stop", icon=":material/stop:", key=f"stop.{run.id}", on_click=ask, args=(engine.stop, run.id), disabled=run.state == "stopping",
                          width="stretch", help="Saves a checkpoint first; the run can go on from there later.")  # fmt: skip
            elif run.state in ("stopped", "failed"):
                st.button("Go on", icon=":material/play_arrow:", key=f"resume.{run.id}", on_click=ask, args=(go_on, run.id), width="stretch",
                          help="From the last checkpoint.")  # fmt: skip
        if not run.is_over:
            share = min(1.0, run.step / run.total) if run.total else 0.0
            step = f"step {run.step:,} of {run.total:,} · " if run.total else ""
            st.progress(share, text=step + how_far(run))
        if "live.error" in st.session_state:
            st.error(st.session_state.pop("live.error"), icon=":material/error:")
        if run.state == "failed":
            st.error(run.error or "The run ended without saying why; the last lines of its log are below.", icon=":material/error:", title="The run failed")
            with st.expander("Last lines of the log", icon=":material/terminal:"):
                st.code("\n".join(read_log(engine.files(run.id), 40)) or "(the log is empty)", language=None)


def ask(action: object, run_id: str) -> None:
    """Stop or resume; an error is said in the panel."""
    try:
        action(run_id)  # type: ignore[operator]
    except CpdError as error:
        st.session_state["live.error"] = str(error)


def go_on(run_id: str) -> None:
    resume(state.workspace(), run_id)


def summary(run: store.Run) -> str:
    """What the run aims at and how long it took."""
    target = run.spec.options.get("target")
    aim = " and ".join(f"{percent(share, 0)} of the {'MACs' if name == 'macs' else 'parameters'}" for name, share in target.items()) if target else "the plan"
    took = f" · took {duration(run.finished - run.started)}" if run.is_over and run.started and run.finished else ""
    return f"down to {aim}{took}" if target else f"prunes by {aim}{took}"


def curves(run: store.Run, recorded: Recorded, dense: Measurement | None, comb: state.Combed) -> None:
    """Tiles of the newest values and all plots; empty plots while nothing has been measured."""
    dark = state.is_dark()
    marks = [Mark(event.step, event.text) for event in engine.events(run.id, ("cut",))]
    metric = metric_of(recorded, dense)
    teacher = last(recorded, f"teacher/{metric.name}", dense.quality if dense else None)
    whole = {batch: dense_latency(recorded, dense, batch) for batch in (1, 32)}
    if run.state != "finished":  # then the outcome says it better
        tiles(recorded, whole, teacher, metric)

    left, right = st.columns(2, gap="medium")
    with left.container(border=True):
        st.markdown(f"**{metric.noun} on held-out data**", help=metric.about)
        series = [line(recorded, f"val/{metric.name}", "student", palette.STUDENT, markers=True)]
        st.plotly_chart(over_steps(series, metric.short, marks=marks, levels=[Level("teacher", teacher)] if teacher is not None else [], share=True, dark=dark),
                        key=f"accuracy.{run.id}", config=PLAIN, alt=f"{metric.noun} of the student over steps, with the teacher's line and every cut")  # fmt: skip
    with right.container(border=True):
        st.markdown("**Training loss**", help=TERMS["distill"])
        st.plotly_chart(over_steps(losses(recorded), "Loss", marks=marks, zero=True, dark=dark), key=f"loss.{run.id}", config=PLAIN,
                        alt="Loss and its terms over steps")  # fmt: skip
    columns = st.columns(3, gap="medium")
    for column, batch in zip(columns, (1, 32), strict=False):
        with column.container(border=True):
            st.markdown(f"**Latency, batch {batch}**", help=TERMS["latency"])
            st.plotly_chart(
                over_steps([line(recorded, f"latency/ms_b{batch}", "student", palette.STUDENT, markers=True)], "ms", marks=marks, zero=True, height=230,
                           levels=[Level("dense", ms) for ms in (whole[batch],) if ms is not None], dark=dark),
                key=f"latency.{batch}.{run.id}", config=PLAIN, alt=f"Measured latency at batch {batch} over steps, with the dense model's line",
            )  # fmt: skip
    with columns[2].container(border=True):
        st.markdown("**Size**", help=TERMS["macs"])
        size = [line(recorded, "cost/macs", "MACs", palette.SERIES[0]), line(recorded, "cost/params", "parameters", palette.SERIES[3], dash="dot")]
        st.plotly_chart(over_steps(size, "Share of dense", marks=marks, share=True, zero=True, height=230, dark=dark), key=f"size.{run.id}", config=PLAIN,
                        alt="Share of MACs and parameters left over steps")  # fmt: skip
    with st.container(border=True):
        st.markdown("**Width of every group over time** · first group on top")
        widths = {
            name.removeprefix("width/"): [(step, int(value)) for step, value in zip(s.steps, s.values, strict=True)]
            for name, s in recorded.items() if name.startswith("width/")
        }  # fmt: skip
        uncut = {group.name: group.width for group in comb.record.groups if group.prunable}
        st.plotly_chart(width_map(widths, uncut, max(run.step, 1), dark=dark), key=f"widths.{run.id}", config=PLAIN,
                        alt="Share of units that every group keeps over steps")  # fmt: skip


def dense_latency(recorded: Recorded, dense: Measurement | None, batch: int) -> float | None:
    """What the run itself measured before its first cut, so that both ends of a comparison met the same load; else the
    project's baseline."""
    found = recorded.get(f"latency/ms_b{batch}")
    if found and found.steps and found.steps[0] == 0:
        return found.values[0]
    at = dense.at(batch) if dense else None
    return at.median_ms if at else None


def metric_of(recorded: Recorded, dense: Measurement | None) -> Words:
    """What the run's task is judged by, in words: as the run records it, else as the baseline did."""
    names = [name.partition("/")[2] for name in recorded if name.startswith(("val/", "teacher/"))]
    return words(names[0] if names else dense.metric if dense else "")


def tiles(recorded: Recorded, whole: Mapping[int, float | None], teacher: float | None, metric: Words) -> None:
    """The newest values beside the dense model's."""
    value = last(recorded, f"val/{metric.name}")
    macs, params = last(recorded, "cost/macs"), last(recorded, "cost/params")
    look: dict[str, Any] = {"border": True, "height": "stretch"}
    with st.grid(5, gap="small", min_column_width=150):
        st.metric(metric.title, percent(value, 2), points(value - teacher) if value is not None and teacher is not None else None, help=metric.about,
                  delta_description=f"vs {percent(teacher)}" if teacher is not None else None, **look) # fmt: skip
        st.metric("MACs", percent(macs), f"{100 * (macs - 1):+.1f} %" if macs is not None and macs < 1 else None, delta_color="inverse", help=TERMS["macs"], **look)
        st.metric("Parameters", percent(params), f"{100 * (params - 1):+.1f} %" if params is not None and params < 1 else None, delta_color="inverse",
                  help=TERMS["parameters"], **look) # fmt: skip
        for batch in (1, 32):
            now, before = last(recorded, f"latency/ms_b{batch}"), whole[batch]
            st.metric(f"Latency, batch {batch}", milliseconds(now), change(before, now) if now and before and now != before else None,
                      delta_color="inverse", help=TERMS["latency"], delta_description=f"dense {milliseconds(before)}" if before and now else None, **look) # fmt: skip


def line(recorded: Recorded, name: str, title: str, colour: str, *, markers: bool = False, dash: str = "solid") -> Series:
    found = recorded.get(name)
    return Series(title, found.steps if found else (), found.values if found else (), colour, dash, markers)


def losses(recorded: Recorded) -> list[Series]:
    """The total, then every term in a colour of its own."""
    terms = sorted(name for name in recorded if name.startswith("train/loss/"))
    lines = [line(recorded, name, name.removeprefix("train/loss/").replace("_", " "), palette.SERIES[i % len(palette.SERIES)]) for i, name in enumerate(terms)]
    return [*lines, line(recorded, "train/loss", "total", palette.STUDENT)]


def last(recorded: Recorded, name: str, otherwise: float | None = None) -> float | None:
    """The newest value of a metric that is a number."""
    found = recorded.get(name)
    values = [v for v in found.values if v == v] if found else []
    return values[-1] if values else otherwise


