"""One group from close: its slices, and the operators that tie them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from app.numbers import percent, plural
from app.tables import blocks_in_words, short, slices_table, ties_table
from app.widgets.chrome import TERMS, table_height
from cpd.comb.findings import Row
from cpd.comb.group import Group


def group_detail(
    group: Group, share: Mapping[str, float], children: Sequence[str] = (), examined: Row | None = None, choose: Callable[[str], None] | None = None
) -> None:
    """Card of a group.

    Args:
        share: of the dense model that hangs on it, by "macs" and "params".
        children: names of the groups whose parent it is.
        examined: what the doctor found of it.
        choose: called with the name of a related group that the user follows.
    """
    with st.container(border=True):
        st.subheader(group.name, anchor=False)
        with st.container(horizontal=True, gap="small"):
            if group.prunable:
                st.badge("can be pruned", icon=":material/content_cut:", color="blue")
            else:
                st.badge("locked", icon=":material/lock:", color="gray")
            if group.certified:
                st.badge("certified", icon=":material/verified:", color="green", help=TERMS["certified"])
            elif group.certified is False:
                st.badge("certificate failed", icon=":material/gpp_bad:", color="red", help=TERMS["certified"])
            else:
                st.badge("not checked", color="gray", help=TERMS["certified"])
        if group.reason:
            st.markdown(f"Locked because {group.reason}")
        facts = f"{plural(group.width, 'unit')} · {percent(share['macs'])} of MACs · {percent(share['params'])} of parameters"
        st.caption(facts)
        if group.blocks is not None:
            st.caption(f"{blocks_in_words(group)}; every block keeps equally many.")
        _relatives(group, children, choose)
        if examined is not None and examined.certified is not None:
            st.caption(f":material/stethoscope: **Doctor:** {examined.verdict}{_figures(examined)}")
        slices, ties = st.tabs([f"Slices ({len(group.slices)})", f"Why they belong together ({len(group.ties)})"])
        with slices:
            st.dataframe(slices_table(group), hide_index=True, height=table_height(len(group.slices), 12), alt=f"Tensor slices of {group.name}",
                         column_config={"tensor": st.column_config.TextColumn("Tensor", pinned=True),
                                        "axis": st.column_config.NumberColumn("Axis", width=56),
                                        "per unit": st.column_config.NumberColumn("Per unit", width=76, help="Positions along the axis that leave with one unit."),
                                        "unit 0": "Unit 0 owns", "all units": "All units own"})  # fmt: skip
        with ties:
            if group.ties:
                st.dataframe(ties_table(group), hide_index=True, height=table_height(len(group.ties), 12), alt=f"Operators that tie {group.name}",
                             column_config={"operator": "Operator", "module": "Module", "effect": "What it does", "source": "Source"})  # fmt: skip
            else:
                st.caption("One tensor only: nothing else reads or writes these units.")


def _relatives(group: Group, children: Sequence[str], choose: Callable[[str], None] | None) -> None:
    """Parent, children and tied groups, each with the way to it."""
    rows = [
        ("Part of", (group.parent,) if group.parent else (), "removing one of its units removes units here"),
        ("Holds", tuple(children), "a unit here takes units there along"),
        ("Tied to", group.tied, "they keep equally many units"),
    ]
    if not any(names for _, names, _ in rows):
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for word, names, meaning in rows:
            if names:
                st.caption(word, width="content")
            for name in names:
                st.button(short(name, group.name), key=f"detail.{word}.{name}", type="tertiary", icon=":material/arrow_forward:",
                          help=f"{name}: {meaning}", on_click=choose, args=(name,), disabled=choose is None)  # fmt: skip


def _figures(row: Row) -> str:
    """Errors of the certificate and the ratios that were tried, in a few words."""
    parts = []
    if row.ratios:
        parts.append(f"cut alone by {', '.join(percent(ratio, 0) for ratio in row.ratios)}")
    if row.relabel_error is not None and row.silence_error is not None:
        parts.append(f"largest error of the certificate {max(row.relabel_error, row.silence_error):.0e}")
    return f" ({'; '.join(parts)})" if parts else ""
