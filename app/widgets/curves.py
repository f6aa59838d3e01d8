"""What a run recorded: tiles of the newest values, and all plots. Empty plots while nothing has been measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import palette, state
from app.charts.training import CUT, EVALUATED, RESTARTED, UNDONE, Level, Mark, Series, over_steps, width_map
from app.numbers import DASH, count, duration, milliseconds, percent, points
from app.widgets.chrome import TERMS
from app.widgets.measured import change
from cpd.measure.measurement import Measurement
from cpd.measure.metrics import Words, words
from cpd.runs import store

Recorded = Mapping[str, store.Series]
PLAIN = {"displayModeBar": False}
MARKS = {"cut": CUT, "undo": UNDONE, "eval": EVALUATED, "resume": RESTARTED}


def curves(run: store.Run, recorded: Recorded, events: Sequence[store.Event], dense: Measurement | None, comb: state.Combed, *, dark: bool) -> None:  # fmt: skip
    """The tiles, unless the outcome says it better, and the plots."""
    marks = [Mark(event.step, event.text, MARKS[event.kind]) for event in events if event.kind in MARKS]
    metric = metric_of(recorded, dense)
    teacher = last(recorded, f"teacher/{metric.name}", dense.quality if dense else None)
    whole = {batch: dense_latency(recorded, dense, batch) for batch in (1, 32)}
    if run.state != "finished":
        tiles(run, recorded, whole, teacher, metric)

    def plot(title: str, name: str, series: list[Series], axis: str, alt: str, help: str | None = None, **look: Any) -> None:
        with st.container(border=True):
            st.markdown(f"**{title}**", help=help)
            st.plotly_chart(over_steps(series, axis, marks=marks, dark=dark, **look), key=f"{name}.{run.id}", config=PLAIN, alt=alt)

    left, right = st.columns(2, gap="medium")
    with left:
        levels = [Level("teacher", teacher)] if teacher is not None else []
        floor = last(recorded, f"probe/floor/{metric.name}")
        series = [line(recorded, f"val/{metric.name}", "student", palette.STUDENT, markers=True)]
        if floor is not None:
            levels.append(Level("least allowed", floor, "dot"))
            series.append(line(recorded, f"probe/{metric.name}", "before each cut", palette.SELECTION, dash="dot"))
        plot(f"{metric.noun} on held-out data", "accuracy", series, metric.short, f"{metric.noun} of the student over steps, with the teacher's line and every cut",
             metric.about, levels=levels, share=True, explain=True)  # fmt: skip
    with right:
        plot("Training loss", "loss", losses(recorded), "Loss", "Loss and its terms over steps", TERMS["distill"], zero=True)
    columns = st.columns(3, gap="medium")
    for column, batch in zip(columns, (1, 32), strict=False):
        with column:
            levels = [Level("dense", ms) for ms in (whole[batch],) if ms is not None]
            plot(f"Latency, batch {batch}", f"latency.{batch}", [line(recorded, f"latency/ms_b{batch}", "student", palette.STUDENT, markers=True)], "ms",
                 f"Measured latency at batch {batch} over steps, with the dense model's line", TERMS["latency"], levels=levels, zero=True, height=230)  # fmt: skip
    with columns[2]:
        size = [line(recorded, "cost/macs", "MACs", palette.SERIES[0]), line(recorded, "cost/params", "parameters", palette.SERIES[3], dash="dot")]
        plot("Size", "size", size, "Share of dense", "Share of MACs and parameters left over steps", TERMS["macs"], share=True, zero=True, height=230)
    left, right = st.columns(2, gap="medium")
    with left:
        plot("Learning rate", "rate", [line(recorded, "train/lr", "learning rate", palette.SERIES[1])], "Rate", "Learning rate over steps", zero=True, height=210)
    with right:
        plot("Images per second", "speed", [line(recorded, "train/images_per_s", "images per second", palette.SERIES[4])], "Images / s",
             "Images trained on per second over steps", zero=True, height=210)  # fmt: skip
    with st.container(border=True):
        st.markdown("**Width of every group over time** · first group on top")
        widths = {
            name.removeprefix("width/"): [(step, int(value)) for step, value in zip(s.steps, s.values, strict=True)]
            for name, s in recorded.items() if name.startswith("width/")
        }  # fmt: skip
        uncut = {group.name: group.width for group in comb.record.groups if group.prunable}
        # To the newest cut, or by half percents of the run: the largest picture is not sent again for every step.
        coarse = max(1, run.total // 200)
        until = max(1, run.step // coarse * coarse, *(steps[-1][0] for steps in widths.values() if steps))
        st.plotly_chart(width_map(widths, uncut, until, dark=dark), key=f"widths.{run.id}", config=PLAIN,
                        alt="Share of units that every group keeps over steps")  # fmt: skip


def tiles(run: store.Run, recorded: Recorded, whole: Mapping[int, float | None], teacher: float | None, metric: Words) -> None:
    """The newest values beside the dense model's."""
    value = last(recorded, f"val/{metric.name}")
    macs, params = last(recorded, "cost/macs"), last(recorded, "cost/params")
    rate, speed = last(recorded, "train/lr"), last(recorded, "train/images_per_s")
    look: dict[str, Any] = {"border": True, "height": "stretch"}
    with st.grid(4, gap="small", min_column_width=150):
        st.metric(metric.title, percent(value, 2), points(value - teacher) if value is not None and teacher is not None else None, help=metric.about,
                  delta_description=f"vs {percent(teacher)}" if teacher is not None else None, **look) # fmt: skip
        st.metric("MACs", percent(macs), f"{100 * (macs - 1):+.1f} %" if macs is not None and macs < 1 else None, delta_color="inverse", help=TERMS["macs"], **look)
        st.metric("Parameters", percent(params), f"{100 * (params - 1):+.1f} %" if params is not None and params < 1 else None, delta_color="inverse",
                  help=TERMS["parameters"], **look) # fmt: skip
        left = run.pace_s * (run.total - run.step) if run.state == "running" else 0.0
        st.metric("Time left", duration(left) if left else DASH, help="By the pace of the last half minute.", **look)
        for batch in (1, 32):
            now, before = last(recorded, f"latency/ms_b{batch}"), whole[batch]
            st.metric(f"Latency, batch {batch}", milliseconds(now), change(before, now) if now and before and now != before else None,
                      delta_color="inverse", help=TERMS["latency"], delta_description=f"dense {milliseconds(before)}" if before and now else None, **look) # fmt: skip
        st.metric("Images per second", count(speed) if speed is not None else DASH, help="Trained on, evaluations left out.", **look)
        st.metric("Learning rate", f"{rate:.2e}" if rate is not None else DASH, **look)


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
