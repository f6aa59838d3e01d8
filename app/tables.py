"""Tables of a combed model as data frames: plain data in, no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cpd.comb.group import Group
from cpd.comb.record import CombRecord

_CERTIFIED = {True: "proved", False: "failed", None: "not checked"}


def groups_table(record: CombRecord, shares: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """One row a group in forward order; shares are of the dense model."""
    rows = [
        {
            "group": group.name,
            "units": group.width,
            "state": "prunable" if group.prunable else "locked",
            "macs": shares[group.name]["macs"],
            "params": shares[group.name]["params"],
            "certified": _CERTIFIED[group.certified],
            "members": len(group.modules),
            "reason": group.reason,
            "parent": group.parent,
            "blocks": "" if group.blocks is None else f"{group.step} of {group.width // group.step}",
        }
        for group in record.groups
    ]
    columns = ["group", "units", "state", "macs", "params", "certified", "members", "reason", "parent", "blocks"]
    return pd.DataFrame(rows, columns=columns)


def slices_table(group: Group) -> pd.DataFrame:
    """Where a group's units sit: tensor, axis, positions of one unit, and the positions of unit 0 as an example."""
    return pd.DataFrame(
        [
            {
                "tensor": piece.tensor,
                "axis": piece.axis,
                "per unit": int(piece.index.shape[1]),
                "unit 0": positions(piece.index[0].tolist()),
                "all units": positions(sorted(piece.index.ravel().tolist())),
            }
            for piece in group.slices
        ],
        columns=["tensor", "axis", "per unit", "unit 0", "all units"],
    )


def ties_table(group: Group) -> pd.DataFrame:
    """The operators that hold a group together, in forward order."""
    return pd.DataFrame(
        [{"operator": t.operator, "module": t.module or "(top)", "effect": t.effect, "source": t.source} for t in group.ties],
        columns=["operator", "module", "effect", "source"],
    )


def positions(numbers: Sequence[int], most: int = 4) -> str:
    """Ascending numbers as ranges: [0, 1, 2, 5] -> "0–2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(a) if a == b else f"{a}–{b}" for a, b in runs[:most]]
    return ", ".join(words) + (f", … ({len(numbers)} in all)" if len(runs) > most else "")
