"""Importance: how much the model needs each unit, by several criteria, beside what the plan would cut."""

from __future__ import annotations

import streamlit as st

from app import agree, engine, guards, state
from app.charts.importance import agreement, agreement_by_depth, layer_curves, rank_map, sorted_curves
from app.numbers import duration, plural
from app.widgets import chrome
from app.widgets.jobs import job_panel, last_failure
from cpd.errors import CpdError
from cpd.importance.registry import CRITERIA

DEFAULT = ["l2", "taylor", "fisher"]

project = guards.project()
chrome.head("Importance", "One score for every unit, from all the tensors that leave with it. Low scores are what a plan cuts first.",
            help=chrome.TERMS["criterion"])  # fmt: skip
comb = guards.comb(project)


def submit() -> None:
    try:
        engine.submit(project, "score", {"criteria": st.session_state["score.criteria"], "batches": st.session_state["score.batches"]})
    except CpdError as error:
        st.session_state["score.error"] = str(error)


def chooser(first: bool) -> None:
    """Which criteria to score, on how much data."""
    left, middle, right = st.columns([6, 2, 2], gap="small", vertical_alignment="bottom")
    st.session_state.setdefault("score.criteria", DEFAULT)
    st.session_state.setdefault("score.batches", 8)
    left.multiselect("Criteria", list(CRITERIA), key="score.criteria", format_func=lambda name: CRITERIA[name].title, persist_state="session",
                     help="Magnitude looks at the weights alone. Taylor estimates the change of the loss to first order. Fisher "
                     "accumulates squared first-order terms and divides by the activation memory a unit frees. Random is a control.")  # fmt: skip
    middle.number_input("Batches of data", 1, 256, key="score.batches", persist_state="session", help="For criteria that look at gradients.")
    chosen = st.session_state["score.criteria"]
    no_data = not project.data and any(CRITERIA[name].needs_data for name in chosen if name in CRITERIA)
    busy = bool(engine.active(project, ("score",)))
    right.button("Score" if first else "Score again", type="primary" if first else "secondary", icon=":material/leaderboard:", on_click=submit,
                 disabled=busy or not chosen or no_data, key="score.go", width="stretch")  # fmt: skip
    if no_data:
        st.caption(":material/info: This project has no data; only the magnitudes and the random control can be scored.")
    if st.session_state.get("score.error"):
        st.error(st.session_state.pop("score.error"), icon=":material/error:")


tables = state.scores(project, comb)
with st.container(border=True):
    chooser(first=not tables)
    job_panel(project, ("score",), "score")
if not engine.active(project, ("score",)):
    last_failure(project, ("score",))
if not tables:
    if not engine.active(project, ("score",)):
        chrome.note("Nothing has been scored", "Choose criteria above and press Score: seconds for the built-in demos.", "leaderboard")
    st.stop()

names = list(tables)
if st.session_state.get(state.CRITERION) not in names:
    st.session_state[state.CRITERION] = next((name for name in ("fisher", "taylor", "l2") if name in names), names[0])
pick, which = st.columns([3, 4], gap="medium", vertical_alignment="bottom")
criterion = pick.segmented_control("Criterion", names, key=state.CRITERION, required=True, persist_state="session",
                                   format_func=str.capitalize) or names[0]  # fmt: skip
st.session_state["importance.group"] = state.chosen_group(comb)
selected = which.selectbox("Group", comb.names, key="importance.group", help=chrome.TERMS["group"],
                           on_change=lambda: state.choose_group(st.session_state["importance.group"]))  # fmt: skip
table = tables[criterion]
groups = {name: table.groups[name] for name in comb.names if name in table.groups}
plan = state.plan(project, comb)
kept = None if plan is None else {name: len(units) for name, units in plan.keep.items()}
dark = state.is_dark()

data = f"from {plural(table.batches, 'batch', 'batches')} of data" if table.batches else "from the weights alone"
st.caption(f"{CRITERIA[criterion].title if criterion in CRITERIA else criterion}, {data}, scored in {duration(table.seconds)}. "
           + ("Blue stays and orange goes under the current plan." if kept and any(kept[n] < len(groups.get(n, ())) for n in groups)
              else "No plan cuts anything yet."))  # fmt: skip

blank = [name for name, values in groups.items() if not values.any() and comb.record.by_name[name].prunable]
if blank:
    st.warning(f"{plural(len(blank), 'group')} of {len(groups)} score zero everywhere under this criterion, {blank[0]} for one: it cannot tell their units "
               "apart. Weights that were never trained often start at zero; load trained weights, or use a magnitude.", icon=":material/warning:")  # fmt: skip

left, right = st.columns([1, 1], gap="medium")
with left.container(border=True, height="stretch"):
    st.markdown(f"**Sorted scores** · {selected}")
    st.plotly_chart(sorted_curves(groups, selected, kept, dark=dark), key="importance.curves", config={"displayModeBar": False},
                    alt=f"Scores of {selected} from best to worst, with the plan's cut, over all other groups")  # fmt: skip
    st.caption("A flat curve means that no unit stands out: cutting costs little or ranks badly. A steep one has units to spare.")
with right.container(border=True, height="stretch"):
    members = [name for name in comb.record.by_name[selected].modules if name in table.layers]
    st.markdown(f"**The same units, layer by layer** · {plural(len(members), 'layer')} of this group")
    st.plotly_chart(layer_curves({name: table.layers[name].scores for name in members}, dark=dark), key="importance.layers",
                    config={"displayModeBar": False}, alt=f"Scores within each layer of {selected}")  # fmt: skip
    st.caption("The criterion applied to one weight at a time; the group's score joins all of them.")

with st.container(border=True):
    st.markdown("**All groups by rank** · first group on top, best unit left")
    st.plotly_chart(rank_map(groups, kept, dark=dark), key="importance.map", config={"displayModeBar": False},
                    alt="Heat map of scores by rank for every group, with a mark where the plan cuts")  # fmt: skip

with st.container(border=True):
    st.markdown("**Do the criteria agree?** · rank correlation (Spearman) within groups, mean over groups")
    if len(names) < 2:
        st.caption("Score a second criterion to compare.")
    else:
        by_group = agree.by_group({name: tables[name].groups for name in names}, comb.names)
        a, b = st.columns([2, 3], gap="medium")
        a.plotly_chart(agreement(names, agree.matrix(by_group, names), dark=dark), key="importance.agree", config={"displayModeBar": False},
                       alt="Rank correlation between criteria")  # fmt: skip
        b.plotly_chart(agreement_by_depth(comb.names, agree.pairs(by_group, names), dark=dark), key="importance.pairs",
                       config={"displayModeBar": False}, alt="Rank correlation of criteria for every group over depth")  # fmt: skip
        st.caption("1: the same order. 0: unrelated. A random control near 0 shows what no agreement looks like.")
chrome.onward("plan")
