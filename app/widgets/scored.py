"""Scores of one criterion: sorted curves, a map by rank and what a global ranking would cut, by group or by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from app import outlook, state
from app.charts.importance import RANK, RANK_OF_LAYER, RELATIVE, global_cut, layer_curves, rank_map, sorted_curves
from app.numbers import duration, plural
from app.widgets import chrome
from cpd.errors import CpdError
from cpd.importance.normalise import PER, WITHIN, normalise
from cpd.importance.registry import CRITERIA
from cpd.importance.scores import ScoreTable
from cpd.runs.project import Project

PLAIN = {"displayModeBar": False}
BY = {"groups": "By group", "layers": "By layer"}
Curves = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Shown:
    """What the charts draw.

    Attributes:
        curves: scores by group or by layer, in forward order, normalised as chosen.
        selected: the one that is looked at.
        kept: by group or layer what the plan keeps, None without a plan.
        unit: what the scores are in, for axes.
    """

    curves: Curves
    selected: str
    kept: Mapping[str, int] | None
    unit: str


def scores_view(project: Project, comb: state.Combed, table: ScoreTable) -> None:
    """Everything about one criterion."""
    dark = state.is_dark()
    keep: dict[str, Any] = {"persist_state": "session"}
    a, b, c, d = st.columns([3, 5, 4, 4], gap="small", vertical_alignment="bottom")
    by = a.segmented_control("Show", list(BY), key="importance.by", default="groups", required=True, format_func=BY.__getitem__, width="stretch", **keep,
                             help="By group: one score a unit, from all tensors that leave with it; this is what plans use. By layer: the criterion "
                             "applied to one weight at a time, as tools without groups do.") or "groups"  # fmt: skip
    layers = {layer.module: layer for layer in comb.layers if layer.module in table.layers}
    if by == "groups":
        st.session_state["importance.group"] = state.chosen_group(comb)
        chosen = b.selectbox("Group", comb.names, key="importance.group", help=chrome.TERMS["group"],
                             on_change=lambda: state.choose_group(st.session_state["importance.group"]))  # fmt: skip
    else:
        names = list(layers) or [""]
        own = [name for name, layer in layers.items() if state.chosen_group(comb) in layer.groups]
        if st.session_state.get("importance.layer") not in (own or names):
            st.session_state["importance.layer"] = (own or names)[0]
        chosen = b.selectbox("Layer", names, key="importance.layer", on_change=_choose_layer, args=(layers,))
    within = c.selectbox("Made comparable by", list(WITHIN), index=list(WITHIN).index("mean"), key="importance.within", format_func=lambda name: WITHIN[name].title, **keep,
                         help="How scores of different groups are brought to one scale.\n\n"
                         + "\n".join(f"- **{choice.title}**: {choice.help}" for choice in WITHIN.values()))  # fmt: skip
    per = d.selectbox("Weighed", list(PER), key="importance.per", format_func=lambda name: PER[name].title, disabled=by == "layers", **keep,
                      help="What a unit is worth beside what it saves.\n\n" + "\n".join(f"- **{choice.title}**: {choice.help}" for choice in PER.values()))  # fmt: skip

    shown = _groups(project, comb, table, chosen, within, per) if by == "groups" else _layers(project, comb, table, layers, chosen, within)
    st.caption(_about(table, shown))
    _warn_of_blanks(comb, table)

    left, right = st.columns([1, 1], gap="medium")
    with left.container(border=True, height="stretch"):
        st.markdown(f"**Sorted scores** · {chosen}")
        rank = RANK if by == "groups" else RANK_OF_LAYER
        st.plotly_chart(sorted_curves(shown.curves, chosen, shown.kept, unit=shown.unit, rank=rank, dark=dark), key="importance.curves", config=PLAIN,
                        alt=f"Scores of {chosen} from best to worst, with the plan's cut, over all others")  # fmt: skip
        st.caption("A flat curve means that no unit stands out: cutting costs little or ranks badly. A steep one has units to spare.")
    with right.container(border=True, height="stretch"):
        _beside(comb, table, layers, chosen, by, dark)

    with st.container(border=True):
        st.markdown(f"**All {by} by rank** · first on top, best unit left; click a row to look at it")
        st.plotly_chart(rank_map(shown.curves, shown.kept, unit=shown.unit, rank=rank, selected=chosen, dark=dark), key="importance.map", config=PLAIN,
                        on_select=lambda: _from_rows(layers if by == "layers" else None), selection_mode="points",
                        alt="Heat map of scores by rank, with a mark where the plan cuts")  # fmt: skip

    if by == "groups":
        with st.container(border=True):
            head, slide = st.columns([3, 2], gap="medium", vertical_alignment="center")
            head.markdown("**Where a global ranking would cut** · click a bar to look at its group")
            share = slide.slider("Lowest units, %", 5, 95, 30, 5, key="importance.share", **keep, help="Share of all units of all groups that would go, by the scores "
                                 "as they are made comparable above. Groups above the dashed line would lose more than their share.") / 100  # fmt: skip
            prunable = {name: values for name, values in shown.curves.items() if comb.record.by_name[name].prunable}
            st.plotly_chart(global_cut(prunable, share, chosen, dark=dark), key="importance.global", config=PLAIN, on_select=_from_bars, selection_mode="points",
                            alt=f"Share of every group among the lowest {share:.0%} of all units")  # fmt: skip


def _groups(project: Project, comb: state.Combed, table: ScoreTable, selected: str, within: str, per: str) -> Shown:
    plan = state.plan(project, comb)
    kept = None if plan is None else {name: len(units) for name, units in plan.keep.items()}
    groups = {name: table.groups[name] for name in comb.names if name in table.groups}
    latency = outlook.knowledge(project, comb)[0].latency if per == "latency_ms" else None
    try:
        curves = normalise(groups, within, per, comb.cost, latency)
    except CpdError as error:
        # What is missing can be made; the scores are still worth a look.
        st.warning(f"{str(error).capitalize()} The Plan screen profiles this device; until then the scores are shown per unit.", icon=":material/timer_off:")
        curves, per = normalise(groups, within), "unit"
    return Shown({name: curves[name] for name in groups if name in curves}, selected, kept, _unit(within, per))


def _layers(project: Project, comb: state.Combed, table: ScoreTable, layers: Mapping[str, Any], selected: str, within: str) -> Shown:
    plan = state.plan(project, comb)
    kept = None
    if plan is not None:
        kept = {layer.module: left for layer, left in zip(comb.layers, comb.widths(plan), strict=True) if layer.module in layers}
    curves = normalise({name: table.layers[name].scores for name in layers}, within)
    return Shown(curves, selected, kept, _unit(within, "unit"))


def _unit(within: str, per: str) -> str:
    """What an axis says; scores beside the average unit are drawn as they always are."""
    if per == "unit":
        return RELATIVE if within == "mean" else "Score" if within == "none" else f"Score, {WITHIN[within].title.lower()}"
    return f"Score, {WITHIN[within].title.lower()}, {PER[per].title.lower()}"


def _beside(comb: state.Combed, table: ScoreTable, layers: Mapping[str, Any], chosen: str, by: str, dark: bool) -> None:
    """Of a group its layers one by one; of a layer its groups."""
    if by == "groups":
        members = [name for name in comb.record.by_name[chosen].modules if name in table.layers]
        st.markdown(f"**The same units, layer by layer** · {plural(len(members), 'layer')} of this group")
        st.plotly_chart(layer_curves({name: table.layers[name].scores for name in members}, dark=dark), key="importance.layers", config=PLAIN,
                        alt=f"Scores within each layer of {chosen}")  # fmt: skip
        st.caption("The criterion applied to one weight at a time; the group's score joins all of them.")
        return
    owners = [name for name in layers[chosen].groups if name in table.groups] if chosen in layers else []
    st.markdown(f"**The groups that own its outputs** · {plural(len(owners), 'group')}")
    st.plotly_chart(layer_curves({name: table.groups[name] for name in owners}, dark=dark), key="importance.layers", config=PLAIN,
                    alt=f"Scores of the groups that own the outputs of {chosen}")  # fmt: skip
    st.caption("What a plan goes by: these units leave every layer of their group at once, so one layer alone decides nothing."
               if owners else "No group owns the outputs of this layer: all of them stay.")  # fmt: skip


def _about(table: ScoreTable, shown: Shown) -> str:
    data = f"from {plural(table.batches, 'batch', 'batches')} of data" if table.batches else "from the weights alone"
    entry = CRITERIA.get(table.criterion)
    cuts = shown.kept and any(shown.kept.get(name, 0) < len(values) for name, values in shown.curves.items())
    return (f"{entry.title if entry else table.criterion}, {data}, scored in {duration(table.seconds)}. "
            + ("Blue stays and orange goes under the current plan." if cuts else "No plan cuts anything yet."))  # fmt: skip


def _warn_of_blanks(comb: state.Combed, table: ScoreTable) -> None:
    free = [name for name in table.groups if comb.record.by_name[name].prunable]
    blank = [name for name in free if not table.groups[name].any()]
    if blank:
        st.warning(f"{plural(len(blank), 'group')} of {len(free)} score zero everywhere under this criterion, {blank[0]} for one: it cannot tell their units "
                   "apart. Weights that were never trained often start at zero; load trained weights, or use a magnitude.", icon=":material/warning:")  # fmt: skip
    if table.silent:
        st.caption(f":material/info: This criterion says nothing about {plural(len(table.silent), 'group')} ({', '.join(table.silent[:3])}"
                   f"{', …' if len(table.silent) > 3 else ''}); their units all score what units score on average.")  # fmt: skip


def _choose_layer(layers: Mapping[str, Any]) -> None:
    """Looking at a layer looks at the group that owns it, where there is one."""
    layer = layers.get(st.session_state["importance.layer"])
    if layer is not None and layer.groups:
        state.choose_group(layer.groups[0])


def _from_rows(layers: Mapping[str, Any] | None) -> None:
    """A row of the map was clicked: a group's, or a layer's where `layers` are shown."""
    name = _picked("importance.map")
    if name and layers is None:
        state.choose_group(name)
    elif name and layers is not None:
        st.session_state["importance.layer"] = name
        _choose_layer(layers)


def _from_bars() -> None:
    name = _picked("importance.global")
    if name:
        state.choose_group(name)


def _picked(chart: str) -> str:
    """Name that was clicked; "" for an empty selection, which a redrawn figure reports and which changes nothing."""
    points = st.session_state[chart].selection.points
    data = points[0].get("customdata") if points else None
    return str(data[0]) if data else ""
