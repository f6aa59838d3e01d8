"""What stands in the cells of the table and has not been taken into the plan yet.

The browser keeps an edit of a table on top of the values that it was given until it is given the same value, and sends
all that it keeps with every message.
Messages that come while a page is being drawn are made one, and a table that an undo has replaced is still typed into
until the browser has drawn the next. So no message says by itself which edit is new, nor what came first. Every table
therefore remembers the cells that were taken from it, and whatever else changes the plan takes what is left first: each
edit counts once, in the order in which it was made.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from app.draft import Draft
from app.numbers import plural

TABLES, SERIAL, TAB = "plan.tables", "plan.serial", "plan.tab"
REMEMBERED = 8  # tables that the browser may still show: it draws late, but in order

Cells = dict[str, dict[str, Any]]  # group -> column -> what stands in the cell


@dataclass
class Table:
    """One table as it was drawn.

    Attributes:
        version: of the plan that it was given; see `Desk.version`.
        names: groups, row by row.
        taken: cells whose edits the plan has already.
    """

    version: int
    names: tuple[str, ...]
    taken: Cells = field(default_factory=dict)


def key_for(version: int, names: Sequence[str]) -> str:
    """The key under which to draw a table of these rows: the last one's while it can go on, so that it keeps its cursor.

    Rows are known by position, so other rows are another table. No key comes twice: edits that the browser remembers of
    a table that was away, or of the app before it was started anew, must not come back on top of other values.
    """
    tables = _tables()
    last = next(reversed(tables), "")
    table = tables.get(last)
    if table is not None and last in st.session_state and (table.version, table.names) == (version, tuple(names)):
        return last
    serial = st.session_state[SERIAL] = st.session_state.get(SERIAL, 0) + 1
    key = f"plan.table.{st.session_state.setdefault(TAB, secrets.token_hex(4))}.{serial}"
    tables[key] = Table(version, tuple(names))
    for old in list(tables)[:-REMEMBERED]:
        del tables[old]
    return key


def fresh() -> Iterator[tuple[Table, Cells, Cells]]:
    """Of every table with edits that were not taken yet, the oldest first: the table, those cells, and all its edited
    cells. They count as taken from then on."""
    for key, table in _tables().items():
        held = _held(key, table.names)
        new = difference(held, table.taken)
        table.taken = held
        if new:
            yield table, new, held


def difference(held: Mapping[str, Mapping[str, Any]], taken: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Those of the `held` cells that say something else than what was taken from them."""
    nothing: Mapping[str, Any] = {}
    found = {
        group: {column: value for column, value in cells.items() if column not in taken.get(group, nothing) or taken[group][column] != value}
        for group, cells in held.items()
    }
    return {group: cells for group, cells in found.items() if cells}


def asked(cells: Cells, draft: Draft) -> Cells:
    """Those cells that say something else than the draft, as `Draft.edited` takes them: a ratio as a share, 0..1."""
    found: Cells = {}
    for group, row in cells.items():
        other: dict[str, Any] = {}
        if row.get("requested") is not None:
            ratio = min(1.0, max(0.0, float(row["requested"]) / 100))
            if ratio != draft.ratios.get(group, 0.0):
                other["requested"] = ratio
        # Typing holds, unless the same row says otherwise at the same time.
        if "held" in row and ("requested" in other or bool(row["held"]) != (group in draft.held)):
            other["held"] = bool(row["held"])
        if "least" in row and (units := max(0, int(row["least"] or 0))) != draft.constraints.minimums.get(group, 0):
            other["least"] = units
        if other:
            found[group] = other
    return found


def words(before: Draft, after: Draft, groups: Sequence[str]) -> str:
    """What an edit of the table did to these groups, for the history."""
    if before.ratios == after.ratios and before.held == after.held:
        least = {after.constraints.minimums.get(group, 0) for group in groups}
        if len(least) > 1:
            return f"{named(groups)}: minimum widths edited"
        return named(groups) + (f" to keep at least {next(iter(least))}" if any(least) else " without a minimum width")
    ratios = {after.ratios.get(group, 0.0) for group in groups}
    same = len(ratios) == 1 and any(before.ratios.get(group) != after.ratios.get(group) for group in groups)
    return named(groups) + (f" set to {ratios.pop():.1%}" if same else " edited")


def named(groups: Sequence[str]) -> str:
    """ "layer1.0.conv1", or "12 groups"."""
    return groups[0] if len(groups) == 1 else plural(len(groups), "group")


def _held(key: str, names: Sequence[str]) -> Cells:
    """What the browser said last stands in edited cells of this table; nothing once it is gone from the page."""
    if key not in st.session_state:
        return {}
    rows = st.session_state[key]["edited_rows"]
    return {names[row]: dict(cells) for row, cells in rows.items() if row < len(names)}


def _tables() -> dict[str, Table]:
    tables: dict[str, Table] = st.session_state.setdefault(TABLES, {})
    return tables
