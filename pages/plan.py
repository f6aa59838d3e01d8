"""Plan: how much of every group to cut, with savings in view while editing."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from app import desk as desks
from app import guards, palette, state
from app.charts.ratios import ratio_by_depth
from app.draft import Draft, rows
from app.numbers import count, percent, plural
from app.widgets import chrome
from cpd.errors import CpdError, PlanError
from cpd.importance.registry import CRITERIA
from cpd.prune.plan import Constraints, Plan

MULTIPLES = (1, 2, 4, 8, 16, 32)
NO_CRITERION = "none: the last units of a group go"
TARGETS = {"macs": "MACs", "params": "Parameters"}

project = guards.project()
chrome.head("Plan", "Choose how much of every group to cut. Parameters and MACs follow each edit; the plan is saved as you go.",
            help=chrome.TERMS["ratio"])  # fmt: skip
comb = guards.comb(project)
desk = desks.Desk(project, comb)
record, cost = comb.record, comb.cost


def change(edit: Any) -> None:
    """Apply an edit, a function from draft to draft; what does not fit is said on the page and changes nothing."""
    try:
        desk.apply(edit(desk.draft))
    except CpdError as error:
        desks.say(error)


def from_table(key: str, names: list[str]) -> None:
    cells = {}
    for row, values in st.session_state[key]["edited_rows"].items():
        cells[names[row]] = dict(values)
        if values.get("requested") is not None:
            cells[names[row]]["requested"] = values["requested"] / 100
    change(lambda draft: draft.edited(cells))


def from_uniform() -> None:
    ratio = st.session_state["plan.uniform"] / 100
    change(lambda draft: draft.uniform(record, ratio))


def from_solver() -> None:
    target = {st.session_state["plan.target.name"]: st.session_state["plan.target.share"] / 100}
    change(lambda draft: draft.solved(record, desk.scores(draft.criterion), target))


def from_choices() -> None:
    """Criterion, multiple or largest ratio: a plan that was solved is solved again under the new choice."""
    criterion = st.session_state["plan.criterion"]
    constraints = Constraints(st.session_state["plan.multiple"], desk.draft.constraints.minimum, st.session_state["plan.most"] / 100)

    def edit(draft: Any) -> Any:
        draft = desks.replace_choices(draft, criterion, constraints)
        return draft.solved(record, desk.scores(criterion), draft.target) if draft.target else draft

    change(edit)


def from_upload() -> None:
    file = st.session_state["plan.upload"]
    if file is None:
        return
    try:
        plan = Plan.from_json(file.getvalue().decode("utf-8", errors="replace"), file.name)
        plan.check(record)
        if plan.criterion and desk.scores(plan.criterion) is None:
            raise PlanError(f"{file.name}: its units were chosen by {plan.criterion!r}, which has not been scored here; "
                            "score it on the Importance screen, then upload the plan again.")  # fmt: skip
        desk.apply(Draft.of(plan))
    except CpdError as error:
        desks.say(error)


def step(forward: bool) -> None:
    try:
        desk.move(desk.history.redo() if forward else desk.history.undo())
    except CpdError as error:
        desks.say(error)


@st.fragment(key="plan")
def editor() -> None:
    started = time.perf_counter()
    draft = desk.draft
    plan = desk.plan()
    now = cost.price(plan.keep)
    elapsed_ms = 1000 * (time.perf_counter() - started)
    lines = rows(record, plan)

    error = st.session_state.pop("plan.error", "")
    if error:
        st.error(error, icon=":material/error:")
    tiles(now, lines)
    controls(draft)
    if draft.shortfall:
        st.warning(draft.shortfall, icon=":material/warning:", title="The target is out of reach")
    with st.container(border=True):
        st.plotly_chart(ratio_by_depth(lines, dark=state.is_dark()), key="plan.chart", config={"displayModeBar": False},
                        alt="Granted pruning ratio of every group over depth, with the requested ratio where it differs")  # fmt: skip
    table(lines)
    st.caption(f"Planned and priced in {elapsed_ms:.1f} ms. Type into *Asked for*; Ctrl+D fills a marked range down. A ratio typed "
               "by hand is held: the slider and the solver leave it alone until you release it.")  # fmt: skip
    files()


def tiles(now: Any, lines: list[Any]) -> None:
    share = now.share_of(cost.dense)
    cut = [line for line in lines if line.kept < line.width]
    with st.grid(4, gap="small"):
        st.metric("MACs per sample", count(now.macs), delta(share["macs"]), delta_color="inverse", border=True, height="stretch",
                  help=chrome.TERMS["macs"], delta_description=f"{percent(share['macs'])} of {count(cost.dense.macs)} left")  # fmt: skip
        st.metric("Parameters", count(now.parameters), delta(share["params"]), delta_color="inverse", border=True, height="stretch",
                  help=chrome.TERMS["parameters"], delta_description=f"{percent(share['params'])} of {count(cost.dense.parameters)} left")  # fmt: skip
        st.metric("Groups cut", f"{len(cut)} of {len(lines)}", border=True, height="stretch", help=chrome.TERMS["group"])
        removed = sum(line.width - line.kept for line in lines)
        st.metric("Units removed", f"{removed:,} of {sum(line.width for line in lines):,}", border=True, height="stretch", help=chrome.TERMS["unit"])


def delta(share: float) -> Any:
    return 0 if abs(share - 1) < 5e-4 else f"{100 * (share - 1):+.1f} %"


def controls(draft: Any) -> None:
    """Undo and redo, one ratio for all, a target for the solver, and the choices that shape every plan."""
    scored = state.scores(project, comb)
    left, middle, right = st.columns([4, 5, 4], gap="medium")
    with left.container(border=True, height="stretch"):
        free = [draft.ratios.get(g.name, 0.0) for g in record.groups if g.prunable and g.name not in draft.held]
        st.session_state["plan.uniform"] = round(100 * sum(free) / len(free)) if free else 0
        st.slider("Same ratio everywhere", 0, 100, key="plan.uniform", format="%d %%", on_change=from_uniform, disabled=not free,
                  help="Sets every group that is neither locked nor held; it rests at their mean.")  # fmt: skip
        with st.container(horizontal=True):
            history = desk.history
            st.button("Undo", icon=":material/undo:", shortcut="Ctrl+Z", key="plan.undo", disabled=not history.can_undo, on_click=step, args=(False,))
            st.button("Redo", icon=":material/redo:", shortcut="Ctrl+Y", key="plan.redo", disabled=not history.can_redo, on_click=step, args=(True,))
    with middle.container(border=True, height="stretch"):
        a, b = st.columns(2)
        a.selectbox("Solve for", list(TARGETS), key="plan.target.name", format_func=TARGETS.__getitem__, persist_state="session",
                    help="The solver removes what scores least for what it costs, a chunk at a time, until the target is met. "
                    "Held and locked rows stay.")  # fmt: skip
        b.number_input("Share that stays, %", 1, 100, 25, 5, key="plan.target.share", persist_state="session")
        st.button("Solve", type="primary", icon=":material/auto_awesome:", key="plan.solve", on_click=from_solver)
    with right.container(border=True, height="stretch"):
        st.session_state["plan.criterion"] = draft.criterion
        st.session_state["plan.multiple"] = draft.constraints.multiple
        names = ["", *scored] if draft.criterion in ("", *scored) else ["", *scored, draft.criterion]
        st.selectbox("Units are chosen by", names, key="plan.criterion", on_change=from_choices, help=chrome.TERMS["criterion"],
                     format_func=lambda name: CRITERIA[name].title if name in CRITERIA else name or NO_CRITERION)  # fmt: skip
        a, b = st.columns(2)
        multiples = sorted({*MULTIPLES, draft.constraints.multiple})
        a.selectbox("Multiples of", multiples, key="plan.multiple", on_change=from_choices,
                    help="Kept widths are rounded to a multiple of this, which many processors run faster.")  # fmt: skip
        st.session_state["plan.most"] = round(100 * draft.constraints.max_ratio)
        b.number_input("Cut at most, %", 0, 100, step=5, key="plan.most", on_change=from_choices,
                       help="No group loses a larger share of its units than this, whoever asks for it.")  # fmt: skip
    if not scored:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(":material/info: Nothing has been scored yet: units at the end of each group go first, and the solver looks at cost alone.")
            chrome.link("importance", "Score the units")


def table(lines: list[Any]) -> None:
    held = desk.draft.held
    shares = cost.shares
    frame = pd.DataFrame(
        {
            "group": [line.group for line in lines],
            "units": [line.width for line in lines],
            "requested": [100 * line.requested for line in lines],
            "granted": [line.granted for line in lines],
            "kept": [line.kept for line in lines],
            "held": [line.group in held for line in lines],
            "macs": [shares[line.group]["macs"] for line in lines],
            "params": [shares[line.group]["params"] for line in lines],
            "reason": [f"locked: {line.reason}" if not line.prunable and not line.reason.startswith("locked") else line.reason for line in lines],
        }
    )
    key = f"plan.table.{desk.version}"
    names = [line.group for line in lines]
    st.data_editor(
        frame,
        key=key,
        hide_index=True,
        disabled=["group", "units", "granted", "kept", "macs", "params", "reason"],
        on_change=from_table,
        args=(key, names),
        height=chrome.table_height(len(frame), 18),
        column_config={
            "group": st.column_config.TextColumn("Group", pinned=True),
            "units": st.column_config.NumberColumn("Units", help=chrome.TERMS["unit"]),
            "requested": st.column_config.NumberColumn("Asked for", format="%.1f %%", min_value=0.0, max_value=100.0, required=True,
                                                       help="Percent of the units to cut. " + chrome.TERMS["ratio"]),
            "granted": st.column_config.ProgressColumn("Granted", format="percent", min_value=0, max_value=1, color=palette.CUT, width="small", help=chrome.TERMS["granted"]),
            "kept": st.column_config.NumberColumn("Kept", help="Units that stay."),
            "held": st.column_config.CheckboxColumn("Hold", help="The slider and the solver leave this row alone."),
            "macs": st.column_config.NumberColumn("MACs", format="percent", help=chrome.TERMS["share"]),
            "params": st.column_config.NumberColumn("Parameters", format="percent", help=chrome.TERMS["share"]),
            "reason": st.column_config.TextColumn("Why granted differs", width="large"),
        },
        alt="Plan: requested and granted ratio of every group",
    )  # fmt: skip


def files() -> None:
    """Take the plan along, or bring one."""
    save, load = st.columns(2, gap="medium")
    with save.container(border=True, height="stretch"):
        st.markdown("**Take the plan along**")
        st.caption(f"Names and numbers as JSON: {plural(len(record.groups), 'group')}, what was asked for, what was granted and why.")
        st.download_button("Download plan.json", desk.plan().to_json(), f"{project.id}-plan.json", "application/json", icon=":material/download:",
                           key="plan.download", on_click="ignore")  # fmt: skip
    with load.container(border=True, height="stretch"):
        st.file_uploader("Use a plan from a file", type=["json"], key="plan.upload", on_change=from_upload, max_upload_size=5,
                         help="Refused, with the reason, when it was made for another model.")  # fmt: skip


editor()
chrome.onward("run")
