"""Cards of measured models: one alone, or dense and pruned side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import state
from app.charts.per_class import MOST, per_class
from app.numbers import DASH, count, milliseconds, percent, points, three, times
from app.widgets.chrome import TERMS
from cpd.measure.measurement import Latency, Measurement
from cpd.measure.metrics import words


def spread(entry: Latency) -> str:
    """ "1.20–1.42 ms" between the 10th and 90th percentile."""
    return f"{three(entry.p10_ms)}{DASH}{three(entry.p90_ms)} ms"


def conditions(row: Measurement) -> str:
    """Where and how it was measured, in a line."""
    runs = ""
    if row.latency:
        first = row.latency[0]
        runs = f"median of {first.runs} runs on {first.threads} thread{'s' if first.threads != 1 else ''}"
    parts = [row.machine, row.device, f"torch {row.torch}" if row.torch else "", runs]
    return " · ".join(part for part in parts if part)


def baseline_card(row: Measurement) -> None:
    """Accuracy, size and latency of the dense model."""
    quiet: dict[str, Any] = {"delta_color": "off", "delta_arrow": "off", "border": True, "height": "stretch"}
    with st.container(border=True):
        st.subheader("Baseline: the dense model as it is", anchor=False)
        with st.grid(5, gap="small", min_column_width=150):
            metric = words(row.metric)
            if row.quality is None:
                st.metric(metric.title, DASH, "no labelled data", help=metric.about, **quiet)
            else:
                st.metric(metric.title, percent(row.quality, 2), f"on {row.images:,} held-out images", help=metric.about, **quiet)
            st.metric("Parameters", count(row.parameters), f"{row.parameters:,}", help=TERMS["parameters"], **quiet)
            st.metric("MACs per sample", count(row.macs), f"{count(2 * row.macs, 'FLOPs')}", help=TERMS["macs"], **quiet)
            for entry in row.latency:
                st.metric(f"Latency, batch {entry.batch}", milliseconds(entry.median_ms), spread(entry), help=TERMS["latency"], **quiet)
        st.caption(conditions(row))
        if row.classes:
            with st.expander(f"{metric.per} of every class", icon=":material/category:"):
                class_chart(row, None, "baseline.classes")


def before_after(dense: Measurement, pruned: Measurement, key: str) -> None:
    """Both models measured the same way, and what changed; `key` tells this comparison from others on the page."""
    look: dict[str, Any] = {"border": True, "height": "stretch"}
    with st.grid(5, gap="small", min_column_width=150):
        if pruned.quality is not None and dense.quality is not None:
            metric = words(pruned.metric)
            st.metric(metric.title, percent(pruned.quality, 2), points(pruned.quality - dense.quality), help=metric.about,
                      delta_description=f"from {percent(dense.quality)}", **look)  # fmt: skip
        st.metric("Parameters", count(pruned.parameters), change(dense.parameters, pruned.parameters), delta_color="inverse",
                  help=TERMS["parameters"], delta_description=f"from {count(dense.parameters)}", **look)  # fmt: skip
        st.metric("MACs per sample", count(pruned.macs), change(dense.macs, pruned.macs), delta_color="inverse",
                  help=TERMS["macs"], delta_description=f"from {count(dense.macs)}", **look)  # fmt: skip
        for entry in pruned.latency:
            before = dense.at(entry.batch)
            if before:
                st.metric(f"Latency, batch {entry.batch}", milliseconds(entry.median_ms), gain_in_words(before, entry),
                          delta_color="green" if entry.median_ms <= before.median_ms else "red", delta_arrow="off", help=TERMS["latency"], delta_description=f"from {milliseconds(before.median_ms)}", **look)  # fmt: skip
    st.dataframe(comparison(dense, pruned), hide_index=True, alt="Dense and pruned model, measured side by side")
    unclear = overlapping(dense, pruned)
    if unclear:
        st.caption(f":material/info: At batch {' and '.join(map(str, unclear))} the spreads of both latencies overlap; "
                   "run again on a quiet machine before relying on the difference.")  # fmt: skip
    st.caption(conditions(pruned))
    if dense.classes and pruned.classes:
        st.markdown(f"**{words(pruned.metric).per} of every class**", help=words(pruned.metric).about)
        class_chart(dense, pruned, f"classes.{key}")


def class_chart(dense: Measurement, pruned: Measurement | None, key: str) -> None:
    """The metric of every class."""
    metric = words(dense.metric)
    classes = dense.classes or {}
    st.plotly_chart(per_class(classes, pruned.classes or {} if pruned else None, metric.per, dark=state.is_dark()), key=key,
                    config={"displayModeBar": False}, alt=f"{metric.per} of every class, dense" + (" and pruned" if pruned else ""))  # fmt: skip
    if len(classes) > MOST:
        st.caption(f"The {MOST} of {len(classes)} classes " + ("that lost most." if pruned else "with the lowest values."))


def overlapping(dense: Measurement, pruned: Measurement) -> list[int]:
    """Batch sizes at which the spreads of both latencies overlap, so that the medians alone prove little."""
    pairs = [(dense.at(entry.batch), entry) for entry in pruned.latency]
    return [b.batch for a, b in pairs if a and a.p10_ms <= b.p90_ms and b.p10_ms <= a.p90_ms]


def gain_in_words(before: Latency, after: Latency) -> str:
    """The measured speed-up."""
    gain = before.median_ms / after.median_ms
    return f"{times(gain)} faster" if gain >= 1 else f"{times(1 / gain)} slower"


def change(before: float, after: float) -> str:
    """A signed percentage: 100 -> 25 is "-75.0 %"."""
    return f"{100 * (after / before - 1):+.1f} %" if before else DASH


def comparison(dense: Measurement, pruned: Measurement) -> dict[str, list[str]]:
    """Dense, pruned and change, as text with units."""
    rows: list[tuple[str, str, str, str]] = []
    if pruned.quality is not None and dense.quality is not None:
        name = f"{words(pruned.metric).title} on {pruned.images:,} images"
        rows.append((name, percent(dense.quality, 2), percent(pruned.quality, 2), points(pruned.quality - dense.quality)))
    rows.append(_size("Parameters", dense.parameters, pruned.parameters))
    rows.append(_size("MACs per sample", dense.macs, pruned.macs))
    for entry in pruned.latency:
        before = dense.at(entry.batch)
        if before:
            dense_ms, pruned_ms = (f"{milliseconds(e.median_ms)} ({spread(e)})" for e in (before, entry))
            rows.append((f"Latency at batch {entry.batch} (10th{DASH}90th percentile)", dense_ms, pruned_ms, gain_in_words(before, entry)))
    for taken in pruned.memory:
        whole = dense.memory_at(taken.batch)
        if whole:
            rows.append((f"Peak memory at batch {taken.batch}", count(whole, "B"), count(taken.peak_bytes, "B"), f"{times(whole / taken.peak_bytes)} less"))
    return {title: [row[at] for row in rows] for at, title in enumerate(("Quantity", "Dense", "Pruned", "Change"))}


def _size(name: str, dense: float, pruned: float) -> tuple[str, str, str, str]:
    return name, f"{dense:,.0f}", f"{pruned:,.0f}", f"{times(dense / pruned)} fewer" if pruned else DASH
