"""The form for a project of one's own: what was typed stays when something does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import state
from app.projects import new_project, settings_from, settings_text
from cpd.errors import CpdError
from cpd.runs.project import Project

FIELDS = ("name", "model", "weights", "settings", "data", "device")
ERROR, HINT = "form.error", "form.hint"
DATA = ("digits", "digit-scenes", "")
DEVICES = ("cpu", "cuda", "mps", "auto")


def fill(project: Project) -> None:
    """Put a project's details into the form, to be corrected."""
    values: Mapping[str, str] = {
        "name": project.name, "model": project.model, "weights": project.weights,
        "settings": settings_text(project.settings), "data": project.data, "device": project.device,
    }  # fmt: skip
    for name, value in values.items():
        st.session_state[f"form.{name}"] = value


def create() -> None:
    """Make the project from the form and open it; what does not fit is said beside the form."""
    typed = {name: (st.session_state.get(f"form.{name}") or "").strip() for name in FIELDS}
    st.session_state[ERROR] = ""
    st.session_state[HINT] = ""
    try:
        if not typed["model"]:
            raise CpdError("Name a model first, e.g. timm:resnet18.")
        settings = settings_from(typed["settings"])
        project = new_project(typed["name"], typed["model"], typed["weights"], settings, typed["data"], typed["device"] or "cpu")
    except CpdError as error:
        st.session_state[ERROR] = str(error)
        return
    state.choose_project(project.id)


def project_form() -> None:
    """Model, weights, settings, data, device, name; and the button that starts combing and measuring."""
    keep: dict[str, Any] = {"persist_state": "session"}
    left, right = st.columns(2, gap="medium")
    with left:
        st.text_input("Model", key="form.model", placeholder="timm:resnet18", **keep,
                      help="`timm:NAME` · `smp:ARCH/ENCODER` to segment · `FILE.py:FACTORY` for a function of yours that returns a module · "
                      "or the path of a bundle that this tool made.")  # fmt: skip
        st.text_input("Weights", key="form.weights", placeholder="/path/to/weights.safetensors", **keep,
                      help="A .safetensors file, or a .pt/.pth file that holds only a state dict. Pickled modules are never "
                      "opened. Empty: the model starts from random weights.")  # fmt: skip
        st.text_input("Model settings", key="form.settings", placeholder="num_classes=10 in_chans=3", **keep,
                      help="Arguments of the model's constructor, NAME=VALUE with spaces between.")  # fmt: skip
    with right:
        st.selectbox("Data", DATA, key="form.data", accept_new_options=True, format_func=lambda text: text or "none (sizes and latency only)", **keep,
                     help="To classify: `digits` is built in · `imagefolder:DIR` · `parquet:DIR` · or a name that timm's data sets know. "
                     "To segment: `digit-scenes` is built in · `masks:DIR` for folders of images and masks, also as ADE20K or "
                     "Cityscapes lay them out · `voc:DIR`.")  # fmt: skip
        st.selectbox("Device", DEVICES, key="form.device", **keep, help="Where runs of this project compute.")
        st.text_input("Name", key="form.name", placeholder="as the model", **keep)
    if st.session_state.get(HINT):
        st.info(st.session_state[HINT], icon=":material/edit:")
    if st.session_state.get(ERROR):
        st.error(st.session_state[ERROR], icon=":material/error:")
    st.button("Create project", type="primary", icon=":material/add:", on_click=create, key="form.create")
    st.caption("The model is then combed and measured in the background; nothing is changed on disk outside the workspace.")
