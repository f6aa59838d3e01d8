"""The frame of every screen: heading, the way onward, messages in place, and words explained at first mention."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import streamlit as st

from app import state
from app.plain import plain
from app.steps import ICONS, PURPOSE, TITLES

PAGES = Path(__file__).resolve().parents[2] / "pages"

NEXT = "Alt+N"  # key of the way onward

TERMS = {
    "group": "A dependency group: units that must be cut at the same places in several tensors, because the data that "
    "flows through them meets (added, multiplied, concatenated or read by the next layer).",
    "unit": "What is removed whole: a channel, an attention head, a hidden unit.",
    "certified": "Two checks on the model itself: permuting the units of a group must not change what the model "
    "computes, and the cut model must equal the dense one with those units silenced.",
    "share": "Share of the dense model that hangs on the group: what would go if all of its units went. Shares of "
    "neighbours overlap, since a weight between two groups hangs on both.",
    "blocks": "Units may only be exchanged within a block, and every block keeps equally many.",
    "doctor": "Trial cuts of every group at several ratios, on a copy: forward at another batch size, backward, saved and "
    "opened again, beside the certificate. A group that fails is locked with the reason.",
    "tied": "Groups that must keep equally many units, although each chooses its own.",
    "macs": "Multiply-accumulates for one sample; 1 MAC = 2 FLOPs.",
    "parameters": "Weights and biases that training changes.",
    "latency": "Time for one forward pass, measured on this machine: the median, with the 10th and 90th percentile.",
    "ratio": "Pruning ratio: the share of a group's units that is removed, 0 % to 100 %.",
    "granted": "What the plan carries out. It differs from what was asked for where widths must be rounded, blocks stay "
    "equal, groups are tied, or a group is locked; the reason column says which.",
    "distill": "Distillation: the pruned model (student) learns from the dense model's outputs (teacher) while it shrinks.",
    "teacher": "The dense model before pruning.",
    "criterion": "How the importance of a unit is computed; a larger score means keep.",
}


def head(title: str, text: str, *, help: str | None = None) -> None:
    """Title of a screen and what it is for, in a sentence; above it what is open, for where the sidebar is folded away."""
    project = state.current_project()
    if project is not None and title != project.name:
        run = st.query_params.get(state.RUN)
        with st.container(key="where"):
            st.caption(f"**{plain(project.name)}** · {plain(project.model)}" + (f" · {plain(run)}" if run else ""))
    st.title(title, anchor=False, help=help)
    st.caption(text)


def note(title: str, text: str, icon: str) -> None:
    """A designed empty state: what is missing and what to do, quietly, in place of the content."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(f"### :material/{icon}:", text_alignment="center")
        st.markdown(f"**{title}**", text_alignment="center")
        st.caption(text, text_alignment="center")
        st.space("small")


def table_height(rows: int, most: int) -> Literal["content"] | int:
    """All rows where they are few, else a window onto `most` of them."""
    return "content" if rows <= most else 36 * (most + 1)


def page_path(page: str) -> str:
    return str(PAGES / f"{page}.py")


def link(page: str, label: str = "") -> None:
    st.page_link(page_path(page), label=label or TITLES[page], icon=ICONS[page], query_params=address())


def go(page: str) -> None:
    """The only thing to do on a screen that has nothing to show: go to the one where that begins."""
    with st.container(horizontal=True, horizontal_alignment="center"):
        if st.button(f"Go to {TITLES[page]}", type="primary", icon=ICONS[page], help=PURPOSE[page], key="go"):
            st.switch_page(page_path(page), query_params=address())


def onward(page: str, *, ready: bool = True, run: str = "") -> None:
    """The way to the next screen, at the foot of this one.

    Args:
        ready: whether this screen has what the next one needs. Until then the button that stands out is another: on every
            screen one does, and it is what comes next.
        run: id of the run that the next screen shows, "" for its own choice.
    """
    st.space("small")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button(f"Next: {TITLES[page]}", type="primary" if ready else "secondary", icon=":material/arrow_forward:", icon_position="right", help=PURPOSE[page], key="onward", shortcut=NEXT):
            st.switch_page(page_path(page), query_params=address() | ({state.RUN: run} if run else {}))


def address() -> dict[str, str]:
    """The part of the query string that every page keeps."""
    return {"project": st.session_state["project"]} if st.session_state.get("project") else {}
