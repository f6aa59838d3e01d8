"""Baselines for a run: the same MACs by a rule that knows nothing, trained the same way, so that the run can be judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import streamlit as st

from app import engine, state, who
from app.compare import BASELINE, RANDOM, UNIFORM, Entry
from app.numbers import percent
from app.widgets import chrome
from cpd.comb.record import CombRecord
from cpd.errors import CpdError, PlanError
from cpd.importance.scores import ScoreTable
from cpd.prune.plan import Plan, plan_ratios
from cpd.prune.presets import preset

ERROR, SAID = "compare.baseline.error", "compare.baseline.said"
ABOUT = {
    UNIFORM: "The same ratio for every group, units ranked by the project's scores: is it worth cutting groups differently?",
    RANDOM: "The same widths as this run, units chosen at random: is it worth scoring them?",
}


def baselines(each: Entry) -> None:
    """Buttons that queue them; each says what it shows, and whether it is there already."""
    with st.popover("Add baselines", icon=":material/add_chart:", help="Runs with the same MACs and the same training, planned by a rule that knows nothing."):
        st.markdown(f"**Baselines for {each.letter}** at {percent(each.run.pruned.macs / each.run.dense.macs)} of the MACs")
        for kind, text in ABOUT.items():
            there = made(each, kind)
            st.button(f"{kind.capitalize()} baseline", key=f"compare.add.{kind}.{each.id}", icon=":material/rocket_launch:", on_click=add, args=(each, kind),
                      disabled=there != "" or who.looks_on(), width="stretch")  # fmt: skip
            st.caption(f"{text} {there}".strip())
        st.caption("Each trains with this run's settings and seed, which takes about as long as it did.")
    if ERROR in st.session_state:
        st.error(st.session_state.pop(ERROR), icon=":material/error:")
    if SAID in st.session_state:
        st.success(st.session_state.pop(SAID), icon=":material/check:")


def made(each: Entry, kind: str) -> str:
    """Whether this baseline exists: in words, "" where it does not."""
    if each.baseline:
        return "This run is a baseline itself."
    for run in engine.runs(each.project, ("distill",)):
        mark = run.spec.options.get(BASELINE)
        if isinstance(mark, Mapping) and mark.get("of") == each.id and mark.get("kind") == kind and run.state not in ("failed", "stopped"):
            return f"It is there: {run.id}, {run.state}."
    return ""


def add(each: Entry, kind: str) -> None:
    """Queue one, as the callback of its button."""
    try:
        comb = state.combed(each.project)
        if comb is None or comb.record.model != each.run.plan.model:
            raise PlanError("the project's comb is not the one that this run was planned on; comb the model again.")
        scores = state.scores(each.project, comb)
        plan = PLANS[kind](each, comb, scores)
        options = {name: value for name, value in each.run.spec.options.items() if name not in ("begin", "target")}
        options |= {"plan": json.loads(plan.to_json()), "target": None, BASELINE: {"of": each.id, "kind": kind}}
        run = engine.submit(each.project, "distill", options, each.run.spec.seed)
        left = comb.cost.price(plan.keep).share_of(comb.cost.dense)["macs"]
        st.session_state[SAID] = f"Queued {run}, which keeps {percent(left)} of the MACs. It joins this page once it has finished and you choose it."
    except CpdError as error:
        st.session_state[ERROR] = str(error)


def uniform(each: Entry, comb: state.Combed, tables: Mapping[str, ScoreTable]) -> Plan:
    """One ratio for all groups that may be cut, at the run's MACs."""
    record, before = comb.record, each.run.plan
    name = before.criterion if before.criterion in tables else next(iter(tables), "")
    if not name:
        raise PlanError("a uniform baseline needs scores to rank units by; score the model on the Importance screen first.")
    scores = {group: np.asarray(row, np.float64) for group, row in tables[name].groups.items()}
    share = comb.cost.price(before.keep).share_of(comb.cost.dense)["macs"]
    found = preset("uniform", record, scores, target={"macs": share}, constraints=before.constraints)
    if not found.met:
        raise PlanError(f"no uniform ratio keeps as little as {percent(share)} of the MACs.")
    return plan_ratios(record, found.ratios, scores, before.constraints, name)


def at_random(each: Entry, comb: state.Combed, tables: Mapping[str, ScoreTable]) -> Plan:
    """The run's own widths, each unit as likely to stay as any other of its group."""
    before = each.run.plan
    return plan_ratios(
        comb.record, {row.group: row.granted for row in before.groups}, random_scores(comb.record, each.run.spec.seed), before.constraints, "random"
    )


def random_scores(record: CombRecord, seed: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    draw = np.random.default_rng(seed)
    return {group.name: draw.random(group.width) for group in record.groups}


PLANS: dict[str, Callable[[Entry, state.Combed, Mapping[str, ScoreTable]], Plan]] = {UNIFORM: uniform, RANDOM: at_random}


def links(each: Entry) -> None:
    """To the run itself and to its story."""
    address = {state.PROJECT: each.project.id, state.RUN: each.id}
    st.page_link(chrome.page_path("run"), label="Its curves and files", icon=":material/rocket_launch:", query_params=address)
    st.page_link(chrome.page_path("present"), label="Its story", icon=":material/co_present:", query_params=address)
