"""Which runs are compared, by which cost, and which of them is looked at: all of it in the address."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import finished, state
from app.compare import MOST, Axis, Entry, entry
from app.plain import plain
from app.widgets.steering import summary
from cpd.errors import CpdError
from cpd.runs.project import Project
from cpd.runs.store import Run

RUNS, AXIS, CURVE = "runs", "axis", "over"  # query string; the run that is looked at is state.RUN
STEPS, COST = "steps", "macs"


def chosen_runs(project: Project, known: Sequence[tuple[Project, Run]]) -> list[tuple[Project, Run]]:
    """The runs that the address names, in its order, else the newest of this project; and a field to change them."""
    by_id = {run.id: (owner, run) for owner, run in known}
    kept = f"compare.kept.{project.id}"
    asked = [name for name in (st.query_params.get(RUNS) or st.session_state.get(kept, "")).split(",") if name]
    gone = [name for name in asked if name not in by_id]
    named = [name for name in dict.fromkeys(asked) if name in by_id][:MOST]
    if not named:
        named = [run.id for owner, run in known if owner.id == project.id][:MOST]
    focus = st.query_params.get(state.RUN, "")
    if focus in by_id and focus not in named:  # a link from elsewhere to this run
        named = [*named[: MOST - 1], focus]
    st.session_state["compare.runs"] = named
    if asked:
        st.session_state[kept] = ",".join(named)

    def label(name: str) -> str:
        owner, run = by_id[name]
        return f"{run.id} · {summary(run)}" + (f" · of {owner.name}" if owner.id != project.id else "")

    def keep() -> None:
        st.session_state[kept] = ",".join(st.session_state["compare.runs"])
        st.query_params[RUNS] = st.session_state[kept]
        if st.query_params.get(state.RUN) not in st.session_state["compare.runs"]:
            st.query_params.pop(state.RUN, None)

    st.multiselect("Runs", list(by_id), key="compare.runs", max_selections=MOST, format_func=label, on_change=keep, placeholder="Choose up to six finished runs",
                   help="Finished runs of this project, and of projects with the same data.")  # fmt: skip
    if gone:
        st.warning(f"There is no finished run {', '.join(map(plain, gone))}; the link is older than what is here.", icon=":material/link_off:")
    return [by_id[name] for name in named]


def entries(chosen: Sequence[tuple[Project, Run]]) -> list[Entry]:
    """The runs that can be read; of the others it is said why not."""
    found: list[Entry] = []
    for owner, run in chosen:
        try:
            found.append(entry(len(found), owner, finished.opened(run.id), finished.change(run.id)))
        except CpdError as error:
            st.error(str(error), icon=":material/error:", title=f"{run.id} cannot be compared")
    metrics = {each.run.pruned.metric for each in found}
    if len(metrics) > 1:
        first = found[0].run.pruned.metric
        st.warning("Only runs that are judged by the same metric can be compared; the others are left out.", icon=":material/rule:")
        found = [each for each in found if each.run.pruned.metric == first]
    return found


def chosen_axis(known: dict[str, Axis]) -> Axis:
    """The cost on the horizontal axis."""
    asked = st.query_params.get(AXIS) or st.session_state.get("compare.axis")
    st.session_state["compare.axis"] = asked if asked in known else next(iter(known))

    def keep() -> None:
        st.query_params[AXIS] = st.session_state["compare.axis"]

    name = st.selectbox("Set against", list(known), key="compare.axis", format_func=lambda key: known[key].title, on_change=keep,
                        help="Latencies were measured on the machine that ran the run; a share of the dense model's time, taken in turn with it, is the "
                        "fairer figure where runs were measured at different times. Peak memory is what weights, images and everything between take at the fullest "
                        "moment of a measured pass.", label_visibility="collapsed")  # fmt: skip
    return known[name]


def focus_of(found: Sequence[Entry]) -> Entry:
    """The run that is looked at: the one that the address names, else the first."""
    asked = st.query_params.get(state.RUN, "")
    return next((each for each in found if each.id == asked), found[0])


def look_at(run: str) -> None:
    """Look at this run everywhere on the page. Callbacks may call this."""
    st.query_params[state.RUN] = run


def from_chart(key: str) -> None:
    """A click on a point of a chart, or a box around some, looks at the (first) run there."""
    for point in st.session_state[key].selection.points:
        data = point.get("customdata")
        name = data[0] if isinstance(data, (list, tuple)) and data else data.get("0") if isinstance(data, dict) else data
        if name:  # a redrawn figure reports an empty selection, and a dense model has no run: both keep what is looked at
            look_at(str(name))
            return


def from_table(names: Sequence[str], key: str) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        look_at(names[rows[0]])
