"""The head of a run: how it stands, how far it is, and every button that fits its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app import engine, who
from app.numbers import duration, percent
from app.widgets.jobs import how_far
from cpd.errors import CpdError
from cpd.runs import store
from cpd.runs.launcher import read_log
from cpd.runs.standing import INTERRUPTED

BADGES: dict[str, tuple[Any, str]] = {
    "queued": ("gray", ":material/hourglass_empty:"),
    "running": ("blue", ":material/progress_activity:"),
    "pausing": ("orange", ":material/pause_circle:"),
    "stopping": ("orange", ":material/stop_circle:"),
    "paused": ("orange", ":material/pause_circle:"),
    "stopped": ("orange", ":material/stop_circle:"),
    "finished": ("green", ":material/check_circle:"),
    "failed": ("red", ":material/error:"),
    INTERRUPTED: ("red", ":material/power_off:"),
}
KINDS_SHOWN = ("cut", "undo", "eval", "resume", "pause", "stop", "finish", "error", "note")
REDRAW = "live.redraw"  # session key: what a button did shows outside of the panel, too
ORIGIN = "run.origin"  # session key: (run, step or None) that the next run begins like, or goes on from


def header(run: store.Run) -> None:
    """State in a sentence, progress, buttons, and why it failed."""
    said = engine.standing(run)
    colour, icon = BADGES[said.state]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(said.state, icon=icon, color=colour)
            st.markdown(f"**{run.id}**")
            st.caption(summary(run))
        if said.state not in ("running", "failed"):  # the badge, the bar and the error say it better
            place = engine.place(run)
            st.caption(said.sentence + (f" It is number {place[0]} of {place[1]} in the queue." if place else ""))
        if run.state in ("queued", "running", "pausing", "stopping", "paused"):
            share = min(1.0, run.step / run.total) if run.total else 0.0
            step = f"step {run.step:,} of {run.total:,} · " if run.total else ""
            st.progress(share, text=step + how_far(run))
        buttons(run)
        if "live.error" in st.session_state:
            st.error(st.session_state.pop("live.error"), icon=":material/error:")
        if run.state == "failed":
            st.error(said.sentence, icon=":material/error:", title="The run failed")
            with st.expander("Last lines of the log", icon=":material/terminal:"):
                st.code("\n".join(read_log(engine.files(run.id), 40)) or "(the log is empty)", language=None)


def buttons(run: store.Run) -> None:
    """What can be done with the run as it is now."""
    with st.container(horizontal=True, gap="small"):
        if run.state in ("queued", "running"):
            button("Pause", "pause", "pause", run, engine.pause, "Saves a checkpoint first; the run keeps its place in the queue.")
        if run.state in ("paused", "stopped", "failed"):
            button("Go on", "play_arrow", "resume", run, engine.resume, "From the last checkpoint.", first=True)
        if run.state in ("queued", "running", "pausing", "paused"):
            button("Stop", "stop", "stop", run, engine.stop, "Saves a checkpoint first; the run can go on from there later.")
        place = engine.place(run)
        if place and place[0] > 1:
            button("Move up", "arrow_upward", "up", run, lambda name: engine.move(name, place[0] - 2), "One place earlier in the queue.")
            button("First", "vertical_align_top", "first", run, lambda name: engine.move(name, 0), "Next to start.")
        if place and place[0] < place[1]:
            button("Move down", "arrow_downward", "down", run, lambda name: engine.move(name, place[0]), "One place later in the queue.")
        button("Clone", "content_copy", "clone", run, lambda name: begin_like(name, None), "Set up another run like this one, and change what you want.")
        roll_back(run)


def button(label: str, icon: str, key: str, run: store.Run, action: Callable[[str], object], help: str, *, first: bool = False) -> None:
    """`first`: what comes next, and stands out."""
    st.button(label, type="primary" if first else "secondary", icon=f":material/{icon}:", key=f"{key}.{run.id}", on_click=ask, args=(action, run.id), help=help, disabled=who.looks_on())


def roll_back(run: store.Run) -> None:
    """Choose a checkpoint to go on from with another goal."""
    places = engine.checkpoints(run.id)
    if not places:
        return
    with st.popover("Roll back", icon=":material/history:", key=f"back.{run.id}", help="Go back to a checkpoint, and on from there with other ratios, as a new run."):
        said = {place.step: told(place) for place in reversed(places)}
        before_a_cut = [number for number, place in enumerate(reversed(places)) if place.note]
        step = st.selectbox("To which checkpoint", list(said), before_a_cut[0] if before_a_cut else 0, format_func=said.__getitem__, key=f"back.step.{run.id}")
        st.button("Set up a run from here", type="primary", icon=":material/arrow_forward:", key=f"back.go.{run.id}", on_click=begin_like, args=(run.id, step), disabled=who.looks_on())
        st.caption("This run stays as it is; the new one begins with what was recorded up to that step.")


def told(place: engine.Saved) -> str:
    """A checkpoint in a few words."""
    note = place.note
    if not note:
        return f"step {place.step:,} · one of the last two"
    metric = f", {percent(note['metric'])}" if note.get("metric") is not None else ""
    return f"step {place.step:,} · before a cut, {percent(note['macs'])} of the MACs{metric}"


def begin_like(run: str, step: int | None) -> None:
    """The form for a new run opens with the settings of this one."""
    st.session_state[ORIGIN] = (run, step)
    st.session_state[REDRAW] = True


def ask(action: Callable[[str], object], run_id: str) -> None:
    """Do what a button says; an error is said in the panel."""
    st.session_state[REDRAW] = True
    try:
        action(run_id)
    except CpdError as error:
        st.session_state["live.error"] = str(error)


def summary(run: store.Run) -> str:
    """What the run aims at and how long it took."""
    target = run.spec.options.get("target")
    names = {"macs": "of the MACs", "params": "of the parameters", "latency": "of the latency, measured"}
    aim = " and ".join(f"{share:g} ms a pass, measured" if name == "latency_ms" else f"{percent(share, 0)} {names.get(name, f'of the {name}')}" for name, share in target.items()) if target else "the plan"
    took = f" · took {duration(max(0.0, run.finished - run.started))}" if run.is_over and run.started and run.finished else ""
    begin = run.spec.options.get("begin")
    since = f" · from step {begin['step']:,} of {begin['run']}" if begin else ""
    return (f"down to {aim}" if target else f"prunes by {aim}") + since + took


def story(events: Sequence[store.Event]) -> None:
    """What happened, newest first."""
    shown = [event for event in reversed(events) if event.kind in KINDS_SHOWN]
    if not shown:
        return
    undone = sum(event.kind == "undo" for event in shown)
    with st.expander("What happened" + (f": {undone} cuts undone" if undone > 1 else ": one cut undone" if undone else ""), icon=":material/list_alt:"):
        rows = shown[:300]
        st.dataframe({"Step": [e.step for e in rows], "What": [e.kind for e in rows], "In words": [e.text for e in rows]}, hide_index=True,
                     height="content" if len(rows) <= 8 else 320, column_config={"In words": st.column_config.TextColumn(width="large")}, alt="Events of this run, newest first")  # fmt: skip
