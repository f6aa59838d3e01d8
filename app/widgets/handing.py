"""Hand a finished run's model over: choose the forms, watch it happen, and see which files answer as the model does."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import engine, finished, who
from app.numbers import DASH, count, milliseconds, percent, plural
from app.plain import plain
from app.widgets.jobs import TICK_S, progress_line
from cpd.errors import CpdError
from cpd.export import FORMATS
from cpd.export.records.tables import metrics_csv
from cpd.export.result import FormParity, Handover
from cpd.measure.measurement import Latency
from cpd.measure.metrics import words
from cpd.report.appendix import appendix
from cpd.report.page import page
from cpd.report.story import tell
from cpd.runs.project import Project
from cpd.runs.store import Run

KIND, ARCHIVE = "export", "handover.zip"
ERROR = "handing.error"
TITLES = {"loader": "Python and safetensors", "onnx": "ONNX", "pt2": "torch.export", "compiled": "torch.compile (no file)"}


def handing(project: Project, run_id: str) -> None:
    """The whole panel; polled by itself while a hand-over is under way."""
    newest = finished.handover(project, run_id)
    going = newest is not None and not newest[0].is_over

    @st.fragment(run_every=TICK_S if going else None, key=f"handing.{run_id}.{going}")
    def panel() -> None:
        now = finished.handover(project, run_id)
        busy = now is not None and not now[0].is_over
        if busy != going:
            st.rerun()
        if now is not None and busy:
            progress_line(engine.run(now[0].id))
            st.caption("Every form is written, opened again and run on held-out images beside the pruned model; you can leave this page.")
            return
        if now is not None:
            _outcome(*now)
        if ERROR in st.session_state:
            st.error(st.session_state.pop(ERROR), icon=":material/error:")
        with st.expander("Make it again" if now is not None and now[1] is not None else "Choose the forms", icon=":material/inventory_2:",
                         expanded=now is None or now[1] is None, key=f"handing.form.{run_id}.{now is None}"):  # fmt: skip
            _form(project, run_id)

    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.subheader("Hand over", anchor=False, width="content", help="A folder with the model in every form you choose, its model card, plan, history and metrics, "
                         "that opens without this project; each file is proved against the pruned model.")  # fmt: skip
            with st.container(horizontal=True, width="content"):
                report(project, run_id)
        panel()


def _form(project: Project, run_id: str) -> None:
    forms, key = list(FORMATS), f"handing.formats.{run_id}"
    st.pills("Forms", forms, key=key, default=forms, selection_mode="multi", format_func=lambda name: FORMATS[name])
    st.toggle(
        "Also time torch.compile",
        key=f"handing.compiled.{run_id}",
        help="Compiles the pruned model here and times it beside the files; needs a C++ compiler and about a minute.",
    )
    chosen = st.session_state.get(key) or []
    st.button(
        "Make the hand-over",
        icon=":material/inventory_2:",
        key=f"handing.go.{run_id}",
        on_click=start,
        args=(project, run_id),
        disabled=not chosen or who.looks_on(),
    )


def start(project: Project, run_id: str) -> None:
    """Queue it as the form says now, as the callback of the button."""
    chosen = st.session_state.get(f"handing.formats.{run_id}") or []
    formats = [name for name in FORMATS if name in chosen]
    try:
        engine.submit(project, KIND, {"run": run_id, "formats": formats, "compiled": bool(st.session_state.get(f"handing.compiled.{run_id}"))})
    except CpdError as error:
        st.session_state[ERROR] = str(error)


def _outcome(run: Run, found: Handover | None) -> None:
    """What the newest hand-over came to."""
    if run.state == "failed":
        st.error(run.error or "It ended without saying why; its log is in the run's folder.", icon=":material/error:", title="The hand-over failed")
        return
    if run.state != "finished":
        st.caption(f"The last hand-over was {run.state}.")
        return
    if found is None:
        st.warning("The hand-over finished, but what it found cannot be read; make it again.", icon=":material/warning:")
        return
    files = [form for form in found.forms if form.files]
    failed = [form for form in found.forms if not form.verified and form.form in FORMATS]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if not failed and files:
            st.badge("every file verified", icon=":material/verified:", color="green")
        else:
            st.badge(
                f"not verified: {', '.join(TITLES.get(form.form, form.form) for form in failed) or 'no file was written'}",
                icon=":material/gpp_maybe:",
                color="orange",
            )
        st.caption(against(found))
    st.dataframe(forms_table(found), hide_index=True, alt="Every form that was handed over, and whether it answers as the pruned model does",
                 column_config={"Why not": st.column_config.TextColumn(width="large")})  # fmt: skip
    if unsteady(found):
        st.caption(
            ":material/info: The machine was busy while these were timed: single passes differ by more than a half. Make it again on a quiet machine before relying on the times."
        )
    for form in failed:
        st.warning(plain(form.reason), icon=":material/gpp_maybe:", title=f"{TITLES.get(form.form, form.form)} is not verified")
    archive = engine.files(run.id) / ARCHIVE
    if archive.is_file():
        st.download_button(f"Download {ARCHIVE} ({count(archive.stat().st_size, 'B')})", archive.read_bytes, f"{found.source}-{ARCHIVE}", "application/zip", icon=":material/folder_zip:", key=f"handing.zip.{run.id}", on_click="ignore",
                           help="Every form, model card, plan, history, metrics, and a manifest with the digest of every file.")  # fmt: skip
    else:
        st.warning(f"{ARCHIVE} is gone; make the hand-over again.", icon=":material/warning:")


def against(found: Handover) -> str:
    """On what the forms were compared."""
    on = plural(found.images, "held-out image") if found.inputs == "images" else f"{plural(found.images, 'random input')}, since there are no data"
    return f"compared on {on} · {found.machine} · torch {found.torch}"


def unsteady(found: Handover) -> bool:
    """Whether the middle eight of ten passes of anything timed spread over more than half of their median."""
    rows = [row for timed in (found.eager, found.dense, *(form.latency for form in found.forms)) for row in timed]
    return any(row.p90_ms - row.p10_ms > row.median_ms / 2 for row in rows)


def forms_table(found: Handover) -> pd.DataFrame:
    """One row a form, below the pruned model itself and the dense one, all timed in turn."""
    metric = words(found.metric)
    batches = sorted({row.batch for rows in (found.eager, found.dense, *(form.latency for form in found.forms)) for row in rows})

    def timed(rows: Sequence[Latency]) -> dict[str, str]:
        by_batch = {row.batch: row.median_ms for row in rows}
        return {f"Batch {batch}": milliseconds(by_batch.get(batch)) for batch in batches}

    listed: list[dict[str, str]] = []
    for form in found.forms:
        listed.append({
            "Form": TITLES.get(form.form, form.form), "Verified": mark(form), "Largest difference": gap(form), metric.short: percent(form.quality, 2),
            **timed(form.latency), "Size": count(form.size_bytes, "B") if form.files else DASH, "Why not": "" if form.verified else form.reason,
        })  # fmt: skip
    listed.append(
        {
            "Form": "the pruned model, eager",
            "Verified": "",
            "Largest difference": DASH,
            metric.short: percent(found.quality, 2),
            **timed(found.eager),
            "Size": DASH,
            "Why not": "",
        }
    )
    if found.dense:
        listed.append(
            {
                "Form": "the dense model, eager",
                "Verified": "",
                "Largest difference": DASH,
                metric.short: DASH,
                **timed(found.dense),
                "Size": DASH,
                "Why not": "",
            }
        )
    frame = pd.DataFrame(listed)
    return frame if frame["Why not"].any() else frame.drop(columns="Why not")


def mark(form: FormParity) -> str:
    """Verified only where it is; what is timed only claims nothing."""
    if form.verified:
        return "✓ verified"
    return "✗ not verified" if form.form in FORMATS else "timed only" if form.latency else "✗"


def gap(form: FormParity) -> str:
    if form.difference is None:
        return DASH
    return "none, bit for bit" if form.difference == 0 else f"{form.difference:.1e}"


def report(project: Project, run_id: str) -> None:
    """The story of the run as one HTML file, with the hand-over in its appendix once there is one."""

    def whole() -> str:
        told = tell(finished.opened(run_id), project.name)
        found = finished.handover(project, run_id)
        return page([told], [appendix(told, found[1] if found else None)])

    try:
        finished.opened(run_id)
    except CpdError:
        return  # the outcome above says what is damaged
    st.download_button("Report (HTML)", whole, f"{project.id}-report.html", "text/html", icon=":material/description:", key=f"handing.report.{run_id}", on_click="ignore",
                       help="Five plain steps and an appendix, in one file that opens without a network and prints well.")  # fmt: skip
    st.download_button("Metrics (CSV)", lambda: metrics_csv({name: (row.steps, row.values) for name, row in finished.opened(run_id).metrics.items()}),
                       f"{run_id}-metrics.csv", "text/csv", icon=":material/table:", key=f"handing.csv.{run_id}", on_click="ignore",
                       help="Every value of every curve. The command line writes it for TensorBoard and MLflow, too: `python -m cpd runs export`.")  # fmt: skip
