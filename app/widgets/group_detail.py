"""One group from close: its slices, and the operators that tie them."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app.numbers import percent, plural
from app.tables import slices_table, ties_table
from app.widgets.chrome import TERMS, table_height
from cpd.comb.group import Group


def group_detail(group: Group, share: Mapping[str, float]) -> None:
    """Card of a group; `share` is the dense model's share that hangs on it, by "macs" and "params"."""
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
            st.caption(f"{plural(group.step, 'block')} of {plural(group.width // group.step, 'unit')}; every block keeps equally many.")
        if group.parent:
            st.caption(f"Part of **{group.parent}**: removing one of its units removes units here.")
        if group.tied:
            st.caption(f"Keeps as many units as {', '.join(f'**{name}**' for name in group.tied)}.")
        slices, ties = st.tabs([f"Slices ({len(group.slices)})", f"Why they belong together ({len(group.ties)})"])
        with slices:
            st.dataframe(slices_table(group), hide_index=True, height=table_height(len(group.slices), 12), alt=f"Tensor slices of {group.name}",
                         column_config={"tensor": st.column_config.TextColumn("Tensor", pinned=True),
                                        "axis": st.column_config.NumberColumn("Axis", width="small"),
                                        "per unit": st.column_config.NumberColumn("Per unit", width="small", help="Positions along the axis that leave with one unit."),
                                        "unit 0": "Unit 0 owns", "all units": "All units own"})  # fmt: skip
        with ties:
            if group.ties:
                st.dataframe(ties_table(group), hide_index=True, height=table_height(len(group.ties), 12), alt=f"Operators that tie {group.name}",
                             column_config={"operator": "Operator", "module": "Module", "effect": "What it does", "source": "Source"})  # fmt: skip
            else:
                st.caption("One tensor only: nothing else reads or writes these units.")

