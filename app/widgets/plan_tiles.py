"""Headline figures of the plan: accuracy, latency, MACs and parameters, and which of them are measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import engine, who
from app.charts.ratios import Ratio
from app.desk import Desk
from app.numbers import DASH, count, milliseconds, percent, plural, points, three, times, when
from app.outlook import Knowledge, Outlook
from app.widgets import chrome
from app.widgets.head_start import drawn_first
from app.widgets.jobs import how_far
from cpd.errors import CpdError
from cpd.measure.metrics import words

KINDS = ("profile", "sense", "trial")
LOOK: dict[str, Any] = {"border": True, "height": "stretch"}
BUSY = 1.5  # a dense model that is slower than this was not measured on a quiet machine
# An estimate is paler than a measurement.
PALE = "<style>[class*='st-key-plan-estimate'] [data-testid='stMetricValue'] {opacity: .62}</style>"


def tiles(desk: Desk, known: Knowledge, outlook: Outlook, lines: Sequence[Ratio]) -> None:
    st.html(PALE)
    cells = st.columns(4, gap="small")
    with cells[0]:
        _quality(desk, known, outlook)
    with cells[1]:
        _latency(desk, outlook)
    dense = outlook.dense
    share = outlook.cost.share_of(dense)
    cells[2].metric("MACs per sample", count(outlook.cost.macs), delta(share["macs"]), delta_color="inverse", help=chrome.TERMS["macs"],
                    delta_description=f"{percent(share['macs'])} of {count(dense.macs)} left", **LOOK)  # fmt: skip
    cells[3].metric("Parameters", count(outlook.cost.parameters), delta(share["params"]), delta_color="inverse", help=chrome.TERMS["parameters"],
                    delta_description=f"{percent(share['params'])} of {count(dense.parameters)} left", **LOOK)  # fmt: skip
    _footer(desk, known, outlook, lines)
    drawn_first("plan.figures", (outlook.cost, outlook.latency, outlook.quality))


def delta(share: float) -> Any:
    return 0 if abs(share - 1) < 5e-4 else f"{100 * (share - 1):+.1f} %"


def _quality(desk: Desk, known: Knowledge, outlook: Outlook) -> None:
    title, found = words(outlook.metric).title, outlook.quality
    if found is None:
        no_data = "" if desk.project.data else "This project has no data to tell accuracy from."
        _unknown(desk, "Accuracy", "sense", "Scan sensitivity", "No sensitivity yet: cut every group alone, once, to predict what a plan keeps.", no_data)
        return
    drop = None if outlook.dense_quality is None else found.value - outlook.dense_quality
    span = f"{100 * found.low:.1f}{DASH}{100 * found.high:.1f} %"
    with st.container(key="plan-measured-quality" if found.measured else "plan-estimate-quality", height="stretch"):
        st.metric(f"{title} · {'measured' if found.measured else 'predicted'}", percent(found.value), None if drop is None else points(drop) if abs(drop) >= 5e-5 else 0,
                  delta_description=span, help=f"Before any training, with its 90 % interval. {found.how[:1].upper()}{found.how[1:]}.", **LOOK)  # fmt: skip


def _latency(desk: Desk, outlook: Outlook) -> None:
    found = outlook.latency
    if found is None:
        _unknown(desk, "Latency", "profile", "Profile latency", "Not profiled yet: time every operator on this machine, once, to price any plan in milliseconds.")
        return
    before = outlook.dense_latency
    change = None if not before else delta(found.value / before)
    span = f"{three(found.low)}{DASH}{three(found.high)} ms" if found.measured else f"± {percent(found.high / found.value - 1, 0)}"
    with st.container(key="plan-measured-latency" if found.measured else "plan-estimate-latency", height="stretch"):
        st.metric(f"Latency, batch {outlook.batch} · {'measured' if found.measured else 'estimate'}", milliseconds(found.value), change, delta_color="inverse",
                  delta_description=span, help=f"One forward pass. {found.how[:1].upper()}{found.how[1:]}.", **LOOK)  # fmt: skip


def slower(known: Knowledge, outlook: Outlook) -> float:
    """How many times its profiled latency the dense model took while the plan was measured; 1 where either is not known."""
    if outlook.trial is None or known.latency is None:
        return 1.0
    timed = outlook.trial.dense.at(known.latency.table.batch)
    return timed.median_ms / known.latency.estimate({}).value if timed else 1.0


def _unknown(desk: Desk, title: str, kind: str, label: str, text: str, blocked: str = "") -> None:
    """A tile whose figure is not known yet, and the work that finds it."""
    active = engine.active(desk.project, (kind,))
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.caption(title)
        st.caption(blocked or text)
        if active:
            st.caption(f":material/hourglass_top: {how_far(active[0])}")
        elif kind == "profile":
            profiling(desk, label)
        elif st.button(label, key=f"plan.{kind}", icon=":material/troubleshoot:", disabled=bool(blocked) or who.looks_on()):
            submit(desk, kind, {})


def profiling(desk: Desk, label: str, batch: int = 32) -> None:
    """The batch size that latency is about, and the work that times every operator at it."""
    with st.popover(label, icon=":material/speed:", help="Half a minute of timed passes on this machine."):
        size = st.number_input("Batch size", 1, 4096, batch, key="plan.profile.batch", help="Images in one forward pass; what the network will be run at.")
        if st.button("Profile", key="plan.profile", type="primary", disabled=bool(engine.active(desk.project, ("profile",))) or who.looks_on()):
            submit(desk, "profile", {"batch": int(size)})


def _footer(desk: Desk, known: Knowledge, outlook: Outlook, lines: Sequence[Ratio]) -> None:
    """What is cut, what the figures rest on, and *Measure*."""
    cut = [line for line in lines if line.kept < line.width]
    removed = sum(line.width - line.kept for line in lines)
    facts = [f"{len(cut)} of {plural(len(lines), 'group')} cut, {removed:,} of {sum(line.width for line in lines):,} units removed"]
    table = known.sensitivity
    if outlook.trial is not None:
        facts.append(f":material/check_circle: this very plan was cut and measured on {when(outlook.trial.when)}, without training")
        busier = slower(known, outlook)
        if busier > BUSY:
            facts.append(f":material/warning: the machine was busy: the dense model took {times(busier)} what its profile says, so go by the change, or measure again")
    else:
        if known.trials:
            facts.append(":material/history: the last measurement was of another plan; these are estimates again")
        if table is not None and not table.done and outlook.quality is not None:
            facts.append(f"accuracy from the {len(table.groups)} groups scanned so far")
    busy = bool(engine.active(desk.project, ("trial",)))
    words, buttons = st.columns([7, 4], gap="small", vertical_alignment="center")
    words.caption(" · ".join(facts))
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if known.latency is not None:
            profiling(desk, "Profile again", known.latency.table.batch)
        if st.button("Measure again" if outlook.trial else "Measure", key="plan.measure", icon=":material/straighten:", disabled=busy or not cut or who.looks_on(),
                     help="Cuts this plan for real, makes batch-norm statistics anew and measures accuracy and latency beside the dense model. Nothing is trained."):  # fmt: skip
            batches = sorted({1, 32, outlook.batch})
            submit(desk, "trial", {"plan": json.loads(desk.plan().to_json()), "batches": batches})


def submit(desk: Desk, kind: str, options: dict[str, Any]) -> None:
    """Queue work and draw the whole page: its progress stands outside the fragment."""
    try:
        engine.submit(desk.project, kind, options)
    except CpdError as error:
        st.error(str(error), icon=":material/error:")
        return
    st.rerun()
