"""The form for a project of one's own: what was typed stays when something does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import streamlit as st

from app import state, who
from app.plain import plain
from app.projects import new_project, settings_from, settings_text
from cpd.errors import CpdError
from cpd.runs.project import Project
from cpd.uploads.bring import File, bringing
from cpd.uploads.limits import ARCHIVE_MIB, WEIGHTS_MIB
from cpd.uploads.receive import WEIGHTS, shown

FIELDS = ("name", "model", "weights", "settings", "data", "device")
ERROR, HINT, TOLD = "form.error", "form.hint", "form.told"
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
        weights, data = uploaded("form.weights_file"), uploaded("form.data_file")
        if not typed["model"] and weights is None:
            raise CpdError("Name a model first, e.g. timm:resnet18.")
        if typed["weights"] and weights is not None:
            raise CpdError(f"Weights are given twice, as a path and as {shown(weights[0])}; keep one of them.")
        settings = settings_from(typed["settings"])
        name = typed["name"] or typed["model"] or PurePath(shown(weights[0] if weights else "")).stem
        told: list[str] = []
        with st.spinner("Checking what was uploaded and making the project"):
            project = new_project(name, typed["model"], typed["weights"], settings, "" if data else typed["data"], typed["device"] or "cpu",
                                  bringing(typed["model"], weights, data, settings, told))  # fmt: skip
    except CpdError as error:
        st.session_state[ERROR] = str(error)
        return
    st.session_state[TOLD] = (project.id, " ".join(told))
    state.choose_project(project.id)


def recognised(project: Project) -> None:
    """What was found in the archive that a project was just made from."""
    id_, text = st.session_state.get(TOLD, ("", ""))
    if text and id_ == project.id:
        st.info(plain(text), icon=":material/inventory_2:")


def uploaded(key: str) -> File | None:
    """Name and bytes of the file in an uploader, None where there is none."""
    file = st.session_state.get(key)
    if file is None:
        return None
    file.seek(0)  # it was read before where the project was refused
    return file.name, file


def project_form() -> None:
    """Model, weights, settings, data, device, name; and the button that starts combing and measuring."""
    if who.looks_on():
        st.caption(":material/visibility: You look on; an editor or an owner can make a project here.")
        return
    keep: dict[str, Any] = {"persist_state": "session"}
    left, right = st.columns(2, gap="medium")
    with left:
        st.text_input("Model", key="form.model", placeholder="timm:resnet18", **keep,
                      help="`timm:NAME` · `smp:ARCH/ENCODER` to segment · `FILE.py:FACTORY` for a function of yours that returns a module · "
                      "or the path of a bundle that this tool made.")  # fmt: skip
        st.text_input("Weights", key="form.weights", placeholder="/path/to/weights.safetensors", **keep,
                      help="A .safetensors file, or a .pt/.pth file that holds only a state dict. Pickled modules are never "
                      "opened. Empty: the model starts from random weights.")  # fmt: skip
        st.file_uploader("Weights from your computer", type=[suffix[1:] for suffix in WEIGHTS], key="form.weights_file", max_upload_size=WEIGHTS_MIB,
                         help="Instead of a path: safetensors, a state dict, or a pruned model that this tool made. It is checked in a process "
                         "of its own, held against the model, and kept in the project's folder as safetensors.")  # fmt: skip
        st.text_input("Model settings", key="form.settings", placeholder="num_classes=10 in_chans=3", **keep,
                      help="Arguments of the model's constructor, NAME=VALUE with spaces between.")  # fmt: skip
    with right:
        st.selectbox("Data", DATA, key="form.data", accept_new_options=True, format_func=lambda text: text or "none (sizes and latency only)", **keep,
                     help="To classify: `digits` is built in · `imagefolder:DIR` · `parquet:DIR` · or a name that timm's data sets know. "
                     "To segment: `digit-scenes` is built in · `masks:DIR` for folders of images and masks, also as ADE20K or "
                     "Cityscapes lay them out · `voc:DIR`.")  # fmt: skip
        st.file_uploader("Images from your computer", type=["zip"], key="form.data_file", max_upload_size=ARCHIVE_MIB,
                         help="Instead of the data above: a zip with a folder of images for each class, or with images/ and masks/; train/ and val/ may "
                         "stand around or inside. ADE20K's, Cityscapes' and VOC's layouts are taken as they are. Every image is decoded once and kept in the "
                         "project's folder.")  # fmt: skip
        st.selectbox("Device", DEVICES, key="form.device", **keep, help="Where runs of this project compute.")
        st.text_input("Name", key="form.name", placeholder="as the model", **keep)
    if st.session_state.get(HINT):
        st.info(st.session_state[HINT], icon=":material/edit:")
    if st.session_state.get(ERROR):
        st.error(st.session_state[ERROR], icon=":material/error:")
    st.button("Create project", icon=":material/add:", on_click=create, key="form.create")
    st.caption("The model is then combed and measured in the background; nothing is changed on disk outside the workspace.")
