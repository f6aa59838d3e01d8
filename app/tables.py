"""Tables of a combed model as data frames: plain data in, no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cpd.comb.group import Group
from cpd.comb.record import CombRecord

_CERTIFIED = {True: "proved", False: "failed", None: "not checked"}


def nested(groups: Sequence[Group]) -> list[tuple[Group, int]]:
    """Every group once, in forward order, each child right below its parent; with its depth, 0 for no parent."""
    known = {group.name for group in groups}
    below: dict[str, list[Group]] = {}
    for group in groups:
        below.setdefault(group.parent if group.parent in known and group.parent != group.name else "", []).append(group)
    found: list[tuple[Group, int]] = []

    def add(group: Group, depth: int) -> None:
        found.append((group, depth))
        for child in below.get(group.name, []):
            add(child, depth + 1)

    for group in below.get("", []):
        add(group, 0)
    return found


def short(name: str, beside: str) -> str:
    """`name` without the module that it shares with `beside`: "qkv:channels" beside "qkv:heads" is "channels"."""
    module = beside.partition(":")[0]
    return name.removeprefix(f"{module}:") if name.startswith(f"{module}:") else name


def blocks_in_words(group: Group) -> str:
    """ "4 blocks of 16", "" where units are free."""
    return "" if group.blocks is None else f"{group.step} block{'s' if group.step != 1 else ''} of {group.width // group.step}"


def groups_table(
    record: CombRecord, shares: Mapping[str, Mapping[str, float]], verdicts: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row a group in the order of `nested`; shares are of the dense model, verdicts the doctor's."""
    rows = [
        {
            "name": _branch(depth) + (short(group.name, group.parent) if depth else group.name),
            "units": group.width,
            "state": "prunable" if group.prunable else "locked",
            "macs": shares[group.name]["macs"],
            "params": shares[group.name]["params"],
            "certified": _CERTIFIED[group.certified],
            "doctor": (verdicts or {}).get(group.name, ""),
            "members": len(group.modules),
            "reason": group.reason,
            "blocks": blocks_in_words(group),
            "tied": ", ".join(short(name, group.name) for name in group.tied),
            "group": group.name,
        }
        for group, depth in nested(record.groups)
    ]
    columns = ["name", "units", "blocks", "tied", "state", "macs", "params", "certified", "doctor", "reason", "members", "group"]
    return pd.DataFrame(rows, columns=columns)


def _branch(depth: int) -> str:
    # No-break spaces: a table's cell trims the others.
    return "\u00a0\u00a0\u00a0\u00a0" * (depth - 1) + "\u00a0└\u00a0" if depth else ""


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
