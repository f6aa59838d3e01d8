"""Ways to fill the plan at once: a solver for a budget, presets, and the rules that shape every plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from app import desk as desks
from app import state, who
from app.desk import Desk
from app.numbers import milliseconds, percent
from app.outlook import Knowledge, Outlook
from app.widgets import chrome
from cpd.importance.registry import CRITERIA
from cpd.prune.presets import PRESETS

MULTIPLES = (1, 2, 4, 8, 16, 32)
NO_CRITERION = "none: the last units of a group go"
TARGETS = {"macs": "MACs", "params": "Parameters", "latency_ms": "Latency"}

AMOUNTS = {"units": "Units removed", "macs": "MACs left", "params": "Parameters left", "latency_ms": "Latency"}
PRESET_TITLES = {
    "uniform": "Uniform",
    "importance": "By importance, globally",
    "alike": "By importance, within like groups",
    "sensitivity": "By sensitivity",
}


def makers(desk: Desk, known: Knowledge) -> None:
    solver, begin, shape = st.tabs(["Solve for a budget", "Start from a preset", "Rules for widths and units"])
    with solver:
        budget(desk, known)
    with begin:
        presets(desk, known)
    with shape:
        rules(desk, known)


def budget(desk: Desk, known: Knowledge) -> None:
    """The solver: a target, and where sensitivities were measured the accuracy that must be kept."""
    a, b, c, d = st.columns([3, 3, 3, 2], gap="small", vertical_alignment="bottom")
    name = a.selectbox("Solve for", list(TARGETS), key="plan.target.name", format_func=TARGETS.__getitem__, persist_state="session",
                       help="Held and locked rows stay; the rest gives way, cheapest first, until the target is met. Where sensitivities were measured "
                       "the solver goes by them, else by importance.")  # fmt: skip
    if name == "latency_ms":
        timed = known.latency
        dense = timed.estimate({}).value if timed else 1.0
        b.number_input(f"At most, ms (batch {timed.table.batch})" if timed else "At most, ms", 0.001, None, round(dense / 2, 3), key="plan.target.ms", format="%.4g",
                       persist_state="session", disabled=timed is None, help=f"The dense model takes about {milliseconds(dense)}." if timed else None)  # fmt: skip
    else:
        b.number_input("Share that stays, %", 1, 100, 25, 5, key="plan.target.share", persist_state="session")
    c.number_input("Accuracy at least, %", 0.0, 99.9, 0.0, 1.0, key="plan.target.floor", format="%g", persist_state="session", disabled=known.accuracy is None,
                   help="Predicted, before any training. 0: no floor. Needs a scan of the sensitivity.")  # fmt: skip
    blocked = name == "latency_ms" and known.latency is None
    cuts = any(row.granted for row in desk.plan().groups)  # then running it comes next
    d.button("Solve", type="secondary" if cuts else "primary", icon=":material/auto_awesome:", key="plan.solve", width="stretch", disabled=blocked or who.looks_on(),
             on_click=lambda: desks.attempt(desk, _solve, desk, known), help="Profile the latency first." if blocked else None)  # fmt: skip


def presets(desk: Desk, known: Knowledge) -> None:
    """Rules of one parameter: where to begin before editing by hand."""
    a, b, c, d = st.columns([4, 3, 2, 2], gap="small", vertical_alignment="bottom")
    name = a.selectbox("Preset", list(PRESETS), key="plan.preset", format_func=PRESET_TITLES.__getitem__, persist_state="session",
                       help="Held and locked rows stay. " + " ".join(f"*{PRESET_TITLES[each]}*: {text}." for each, text in PRESETS.items()))  # fmt: skip
    by = b.selectbox("How far", list(AMOUNTS), key="plan.preset.by", format_func=AMOUNTS.__getitem__, persist_state="session")
    if by == "latency_ms":
        c.number_input("At most, ms", 0.001, None, 1.0, key="plan.preset.ms", format="%.4g", persist_state="session", disabled=known.latency is None)
    else:
        c.number_input("Percent", 1, 100, 50, 5, key="plan.preset.share", persist_state="session")
    blocked = "Scan the sensitivity first." if name == "sensitivity" and known.accuracy is None else ""
    blocked = blocked or ("Profile the latency first." if by == "latency_ms" and known.latency is None else "")
    d.button("Apply", key="plan.preset.go", icon=":material/tune:", width="stretch", disabled=bool(blocked) or who.looks_on(), help=blocked or None,
             on_click=lambda: desks.attempt(desk, _preset, desk, known))  # fmt: skip


def _preset(desk: Desk, known: Knowledge) -> None:
    values, draft = st.session_state, desk.draft
    name, by = values["plan.preset"], values["plan.preset.by"]
    amount = values["plan.preset.ms"] if by == "latency_ms" else values["plan.preset.share"] / 100
    ratio, target = (amount, None) if by == "units" else (None, {by: amount})
    made = draft.preset(desk.comb.record, desk.scores(draft.criterion), name, ratio, target, known.accuracy, known.latency)
    desk.apply(made, f"preset {PRESET_TITLES[name].lower()}, {AMOUNTS[by].lower()} {milliseconds(amount) if by == 'latency_ms' else percent(amount, 0)}")


def shortfall(desk: Desk, known: Knowledge, look: Outlook) -> None:
    """A target that could not be met: why, and the nearest one that can as a button."""
    draft = desk.draft
    if not draft.shortfall:
        return
    with st.container(border=True):
        st.warning(draft.shortfall, icon=":material/warning:", title="The target is out of reach; this is as near as it gets")
        name = next(iter(draft.target), "")
        nearest = nearest_target(name, look)
        if nearest is not None:
            label = milliseconds(nearest) if name == "latency_ms" else percent(nearest)
            st.button(f"Solve for {TARGETS[name]} at {label} instead", key="plan.nearest", disabled=who.looks_on(), icon=":material/near_me:",
                      on_click=lambda: desks.attempt(desk, _solve_for, desk, known, {name: nearest}, draft.floor))  # fmt: skip


def nearest_target(name: str, look: Outlook) -> float | None:
    """What the plan that is shown comes to, rounded up to four figures so that it can be met."""
    if name in ("macs", "params"):
        reached = look.cost.share_of(look.dense)[name]
    elif name == "latency_ms" and look.latency is not None and not look.latency.measured:
        reached = look.latency.value
    else:
        return None
    step = 10.0 ** (math.floor(math.log10(reached)) - 3)
    return min(math.ceil(reached / step) * step, 1.0 if name != "latency_ms" else math.inf)


def _solve(desk: Desk, known: Knowledge) -> None:
    values = st.session_state
    name = values["plan.target.name"]
    amount = values["plan.target.ms"] if name == "latency_ms" else values["plan.target.share"] / 100
    _solve_for(desk, known, {name: amount}, values["plan.target.floor"] / 100 if known.accuracy else 0.0)


def _solve_for(desk: Desk, known: Knowledge, target: Mapping[str, float], floor: float) -> None:
    draft = desk.draft
    solved = draft.solved(desk.comb.record, desk.scores(draft.criterion), target, known.accuracy, known.latency, floor)
    (name, amount) = next(iter(target.items()))
    at = milliseconds(amount) if name == "latency_ms" else percent(amount)
    desk.apply(solved, f"solved for {TARGETS[name]} at {at}" + (f", accuracy at least {percent(floor)}" if floor else ""))


def rules(desk: Desk, known: Knowledge) -> None:
    """What ranks units, and which widths are allowed. They are the open branch's own and part of its history."""
    draft, scored = desk.draft, state.scores(desk.project, desk.comb)
    a, b, c, d = st.columns([5, 2, 2, 2], gap="small", vertical_alignment="bottom")
    st.session_state["plan.criterion"] = draft.criterion
    st.session_state["plan.multiple"] = draft.constraints.multiple
    st.session_state["plan.minimum"] = draft.constraints.minimum
    st.session_state["plan.most"] = round(100 * draft.constraints.max_ratio)
    names = ["", *scored] if draft.criterion in ("", *scored) else ["", *scored, draft.criterion]

    def change() -> None:
        desks.attempt(desk, _choose, desk, known)

    a.selectbox("Units are chosen by", names, key="plan.criterion", on_change=change, disabled=who.looks_on(), help=chrome.TERMS["criterion"],
                format_func=lambda name: CRITERIA[name].title if name in CRITERIA else name or NO_CRITERION)  # fmt: skip
    b.selectbox("Multiples of", sorted({*MULTIPLES, draft.constraints.multiple}), key="plan.multiple", on_change=change, disabled=who.looks_on(),
                help="Kept widths are rounded to a multiple of this, which many processors run faster.")  # fmt: skip
    c.number_input("Keep at least", 1, 100_000, key="plan.minimum", on_change=change, disabled=who.looks_on(), help="Fewest units that any group keeps; more for single groups in the table.")
    d.number_input("Cut at most, %", 0, 100, step=5, key="plan.most", on_change=change, disabled=who.looks_on(),
                   help="No group loses a larger share of its units than this, whoever asks for it.")  # fmt: skip
    if not scored:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(":material/info: Nothing has been scored yet: units at the end of each group go first, and the solver looks at cost alone.")
            chrome.link("importance", "Score the units")


def _choose(desk: Desk, known: Knowledge) -> None:
    """A plan that was solved is solved again under the new choice."""
    values = st.session_state
    criterion = values["plan.criterion"]
    constraints = replace(desk.draft.constraints, multiple=values["plan.multiple"], minimum=values["plan.minimum"], max_ratio=values["plan.most"] / 100)
    draft = desk.draft.choosing(criterion, constraints)
    if draft.target:
        draft = draft.solved(desk.comb.record, desk.scores(criterion), draft.target, known.accuracy, known.latency, draft.floor)
    least = f", at least {constraints.minimum}" if constraints.minimum > 1 else ""
    desk.apply(draft, f"units by {criterion or 'position'}, multiples of {constraints.multiple}{least}, cut at most {constraints.max_ratio:.0%}")
