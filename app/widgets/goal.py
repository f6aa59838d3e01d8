"""What a run prunes down to: the plan's own widths, or a target that it meets on its way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import state
from app.numbers import milliseconds, percent
from app.widgets.budget import demo_of
from cpd.prune.plan import Plan
from cpd.runs.project import Project
from cpd.runs.rows import Run

PLAN, TARGET, SAME = "The current plan", "A target", "The same plan"
TARGETS = {"macs": "MACs", "params": "Parameters", "latency": "Latency, as a share", "latency_ms": "Latency, in milliseconds"}
_LATENCY = "Measured, not estimated: at batch 1, before every cut, beside the dense model in turn, so that a busy moment falls on both."
_HELP = {
    "macs": "Of the dense model's multiply-accumulates for one sample.",
    "params": "Of the dense model's weights and biases.",
    "latency": _LATENCY,
    "latency_ms": _LATENCY,
}


@dataclass(frozen=True)
class Goal:
    """What was chosen.

    Attributes:
        options: `plan` and `target` as a run's options have them.
        ready: whether there is anything to prune towards.
        words: what it comes to, to be said below the form's first row.
        file: where the plan can be found, "" where it is in the run alone.
    """

    options: dict[str, Any]
    ready: bool
    words: str = ""
    file: str = ""


def goal(project: Project, comb: state.Combed, plan: Plan | None, like: Run | None, step: int | None, key: str) -> Goal:
    """The choice. It begins as the run `like`, where one is given."""
    share = comb.cost.price(plan.keep).share_of(comb.cost.dense) if plan else {"macs": 1.0, "params": 1.0}
    useful = plan is not None and share["params"] < 1
    old_plan = like is not None and bool(like.spec.options.get("plan"))
    choices = [*([SAME] if old_plan and step is None else []), PLAN, TARGET]
    st.session_state.setdefault(f"{key}.what", choices[0] if old_plan or (like is None and useful) else TARGET)
    what = st.segmented_control("Prune down to", choices, key=f"{key}.what", required=True, persist_state="session",
                                help="The plan says what every group keeps. With a target the run decides on its way, by scores "
                                "of the student as it learns.")  # fmt: skip
    if what == TARGET:
        target, words = _target(project, like, key)
        return Goal({"plan": None, "target": target}, True, words)
    if what == SAME and like is not None:
        return Goal({"plan": like.spec.options["plan"], "target": None}, True)
    if not useful or plan is None:
        words = ":material/info: The plan cuts nothing yet. Choose ratios on the Plan screen, or prune down to a target."
        return Goal({"plan": None, "target": None}, False, words)
    words = f"The plan leaves {percent(share['macs'])} of the MACs and {percent(share['params'])} of the parameters."
    words += " Widths are made of the units that the checkpoint still has." if step else ""
    return Goal({"plan": json.loads(plan.to_json()), "target": None}, True, words, str(state.plan_path(project)))


def _target(project: Project, like: Run | None, key: str) -> tuple[dict[str, float], str]:
    """One quantity and how much of it stays; and what the dense model has of it, where that helps."""
    demo = demo_of(project)
    before = dict((like.spec.options.get("target") or {}) if like else demo.target if demo else {})
    first, stays = next(iter(before.items()), ("macs", 0.25))
    dense = state.baseline(project)
    timed = dense.at(1) if dense else None
    a, b = st.columns(2)
    name = a.selectbox("Of", list(TARGETS), list(TARGETS).index(first) if first in TARGETS else 0, key=f"{key}.target.name",
                       format_func=TARGETS.__getitem__, persist_state="session", help=_HELP[st.session_state.get(f"{key}.target.name") or first])  # fmt: skip
    if name == "latency_ms":
        begin = stays if first == name else timed.median_ms / 2 if timed else 1.0
        most = b.number_input("A pass takes at most, ms", 0.001, None, float(f"{begin:.3g}"), key=f"{key}.target.ms", format="%.4g", persist_state="session", help=_LATENCY)
    else:
        begin = stays if first in TARGETS and first != "latency_ms" else 0.25
        percents = b.number_input("Share that stays, %", 0.1, 100.0, round(100.0 * begin, 4), 5.0, key=f"{key}.target.share", format="%g", persist_state="session", help=_HELP[name])
    words = ""
    if name in ("latency", "latency_ms") and timed:
        words = f"A pass of the dense model at batch 1 took {milliseconds(timed.median_ms)} on this machine."
        if name == "latency_ms" and most >= timed.median_ms:
            words = f":material/info: {words} It is as fast already: ask for less."
    return ({name: float(most)} if name == "latency_ms" else {name: round(percents / 100, 6)}), words
