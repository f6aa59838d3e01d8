"""Branches of a plan: every edit a step with its words and its time, kept on disk, and the way back and forth.

One file a branch, `<project>/branches/<name>.json`, written whole at every step; `branches/current.json` says which of
them is open. A step is saved as what it changed, so that a hundred edits of a hundred groups stay some hundred kB.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.draft import Draft
from cpd.errors import CpdError, StorageError
from cpd.files import make_folder, read_json, write_json
from cpd.prune.plan import Constraints
from cpd.runs.workspace import slug

SCHEMA = 1
LONGEST = 100  # steps of a branch; the oldest are forgotten
MOST = 24  # branches of a project
MAIN = "main"
CURRENT = "current.json"


@dataclass(frozen=True)
class Step:
    """A draft, what led to it in words, and when (seconds since 1970)."""

    draft: Draft
    what: str = "begun"
    when: float = 0.0


@dataclass(frozen=True)
class Branch:
    """Steps in the order in which they were made, and which of them is shown.

    Attributes:
        file: name of its file, without the ending; made from `name` by us.
        note: what the user wrote about it.
    """

    name: str
    steps: tuple[Step, ...] = (Step(Draft()),)
    position: int = 0
    note: str = ""
    file: str = MAIN

    @property
    def now(self) -> Draft:
        return self.steps[self.position].draft

    def then(self, draft: Draft, what: str = "edited", when: float | None = None) -> Branch:
        """A new draft after the one shown; what had been undone is forgotten. An edit that changes nothing is none."""
        if draft == self.now:
            return self
        step = Step(draft, what, time.time() if when is None else when)
        kept = (*self.steps[: self.position + 1], step)[-LONGEST:]
        return replace(self, steps=kept, position=len(kept) - 1)

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position < len(self.steps) - 1

    def undo(self) -> Branch:
        return self.at(self.position - 1)

    def redo(self) -> Branch:
        return self.at(self.position + 1)

    def at(self, position: int) -> Branch:
        """The same branch showing another of its steps, drawn to those there are."""
        return replace(self, position=min(len(self.steps) - 1, max(0, position)))


# On disk -------------------------------------------------------------------------------------------------------------


def to_dict(branch: Branch, model: str) -> dict[str, Any]:
    """Plain values, ready for JSON; `model` is the digest of the architecture that the groups belong to."""
    before, rows = Draft(), []
    for step in branch.steps:
        rows.append({"what": step.what, "when": round(step.when, 3), **change(before, step.draft)})
        before = step.draft
    return {"schema": SCHEMA, "name": branch.name, "model": model, "note": branch.note, "position": branch.position, "steps": rows}


def from_dict(row: Any, file: str, source: str = "branch") -> Branch:
    """Read what `to_dict` gave.

    Raises:
        StorageError: another schema, or steps that cannot be.
    """
    try:
        if row["schema"] != SCHEMA:
            raise StorageError(f"{source}: written by another version of the history; it is left as it is.")
        draft, steps = Draft(), []
        for each in row["steps"]:
            draft = changed(draft, each)
            steps.append(Step(draft, str(each["what"]), float(each["when"])))
        if not steps:
            raise StorageError(f"{source}: a branch without a step; it is left as it is.")
        return Branch(str(row["name"]), tuple(steps), 0, str(row["note"]), file).at(int(row["position"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"{source}: not a branch of a plan ({type(error).__name__}: {error}); it is left as it is.") from error


def change(before: Draft, after: Draft) -> dict[str, Any]:
    """What leads from one draft to the next; a ratio of None is one that is no longer asked for."""
    row: dict[str, Any] = {}
    ratios: dict[str, float | None] = {name: ratio for name, ratio in after.ratios.items() if before.ratios.get(name) != ratio}
    ratios |= {name: None for name in before.ratios if name not in after.ratios}
    if ratios:
        row["ratios"] = ratios
    for name, groups in (("hold", after.held - before.held), ("release", before.held - after.held)):
        if groups:
            row[name] = sorted(groups)
    if after.criterion != before.criterion:
        row["criterion"] = after.criterion
    if after.constraints != before.constraints:
        row["constraints"] = after.constraints.to_dict()
    if dict(after.target) != dict(before.target):
        row["target"] = dict(after.target)
    if after.shortfall != before.shortfall:
        row["shortfall"] = after.shortfall
    if after.floor != before.floor:
        row["floor"] = after.floor
    return row


def changed(before: Draft, row: Mapping[str, Any]) -> Draft:
    """The draft that `change` led to."""
    ratios = {**before.ratios, **row.get("ratios", {})}
    return Draft(
        {str(name): float(ratio) for name, ratio in ratios.items() if ratio is not None},
        (before.held | frozenset(row.get("hold", ()))) - frozenset(row.get("release", ())),
        row.get("criterion", before.criterion),
        Constraints(**row["constraints"]) if "constraints" in row else before.constraints,
        row.get("target", dict(before.target)),
        row.get("shortfall", before.shortfall),
        float(row.get("floor", before.floor)),
    )


def save(folder: Path, branch: Branch, model: str) -> Path:
    """Write a branch whole or not at all; its file.

    Raises:
        StorageError: the disk refuses.
    """
    path = make_folder(folder) / f"{branch.file}.json"
    write_json(path, to_dict(branch, model))
    return path


def load(path: Path, model: str) -> Branch | None:
    """A branch of this model; None for one of another, whose groups mean nothing here. Raises StorageError."""
    row = read_json(path)
    branch = from_dict(row, path.stem, str(path))
    return branch if row.get("model") == model else None


def files(folder: Path) -> list[Path]:
    """Files of all branches, oldest name first."""
    return sorted(path for path in folder.glob("*.json") if path.name != CURRENT and not path.name.startswith("."))


def new_file(folder: Path, name: str) -> str:
    """A file name for a branch that no other has.

    Raises:
        StorageError: there are as many branches as a project may have.
    """
    taken = {path.stem for path in files(folder)}
    if len(taken) >= MOST:
        raise StorageError(f"{folder}: {MOST} branches are there; delete one before starting another.")
    base = slug(name, "branch")
    names = [base, *(f"{base}-{number}" for number in range(2, MOST + 2))]
    return next(name for name in names if name not in taken and f"{name}.json" != CURRENT)


def current(folder: Path) -> str:
    """File name of the open branch; "" where none is named."""
    try:
        row = read_json(folder / CURRENT)
    except CpdError:
        return ""
    name = row.get("branch") if isinstance(row, dict) else ""
    return name if isinstance(name, str) else ""


def make_current(folder: Path, branch: Branch) -> None:
    write_json(make_folder(folder) / CURRENT, {"schema": SCHEMA, "branch": branch.file})
