"""What a finished run hands over: before and after, the model as a file, and how to open it again."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import engine
from app.numbers import count
from app.widgets.handing import handing
from app.widgets.measured import before_after
from cpd.errors import CpdError
from cpd.measure.measurement import Measurement
from cpd.runs.project import Project
from cpd.runs.store import Run


def outcome(project: Project, run: Run) -> None:
    """Both measurements, and every way to take the model along."""
    try:
        result = engine.result(run.id)
    except CpdError as error:
        st.error(f"{error} The curves below are what is left.", icon=":material/error:", title="The run's result is damaged")
        return
    if result is None:
        st.warning("The run finished, but its result file is gone; the curves below are what is left.", icon=":material/warning:")
        return
    with st.container(border=True):
        st.subheader("Before and after, both measured on this machine", anchor=False)
        before_after(Measurement.from_dict(result["dense"]), Measurement.from_dict(result["pruned"]), run.id)
        hand_over(project, engine.files(run.id) / result["bundle"], run.id)
    handing(project, run.id)


def hand_over(project: Project, bundle: Path, run_id: str) -> None:
    """The model as one file, and the line that opens it."""
    name = f"{project.id}-pruned.safetensors"
    if not bundle.is_file():
        st.warning(f"{bundle}: the model's file is gone.", icon=":material/warning:")
        return
    left, right = st.columns([2, 5], gap="medium", vertical_alignment="center")
    left.download_button(f"Download the model ({count(bundle.stat().st_size, 'B')})", bundle.read_bytes, name, "application/octet-stream",
                         icon=":material/download:", key=f"bundle.{run_id}", on_click="ignore",
                         help="Weights, architecture, plan and settings in one safetensors file; nothing in it can execute.")  # fmt: skip
    right.code(f'import cpd\nmodel, inputs = cpd.load_model("{name}")', language="python")
