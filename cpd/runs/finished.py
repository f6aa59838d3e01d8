"""Everything that a finished run recorded, in one object: what comparisons, reports and hand-overs are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cpd.errors import RunError, StorageError
from cpd.files import read_json
from cpd.measure.answers import Answers
from cpd.measure.measurement import Measurement
from cpd.prune.plan import Plan
from cpd.runs.spec import RunSpec
from cpd.runs.store import Event, Series, Store
from cpd.runs.workspace import ALONE, database

ANSWERS = "answers.npz"  # what both models answered to every held-out image
WHOLE = 10**9  # points of a series that is not thinned


@dataclass(frozen=True)
class CombedAs:
    """What combing had found when the run began.

    Attributes:
        certified: prunable groups that passed both checks.
        locked: names of the groups that had to stay whole.
    """

    groups: int
    prunable: int
    certified: int
    locked: tuple[str, ...]


@dataclass(frozen=True)
class FinishedRun:
    """A run that pruned and measured.

    Attributes:
        folder: of the run; `name` is its last part.
        result: what the job wrote: settings, seconds, steps.
        events, metrics: as in the store, whole.
        note: what somebody wrote about the run, "" for nothing.
    """

    folder: Path
    spec: RunSpec
    result: Mapping[str, Any]
    events: tuple[Event, ...]
    metrics: Mapping[str, Series]
    note: str = ""

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def dense(self) -> Measurement:
        return Measurement.from_dict(self.result["dense"], f"{self.folder}/result.json")

    @cached_property
    def pruned(self) -> Measurement:
        return Measurement.from_dict(self.result["pruned"], f"{self.folder}/result.json")

    @cached_property
    def plan(self) -> Plan:
        return Plan.from_json(json.dumps(self.result["plan"]), f"{self.folder}/result.json")

    @cached_property
    def comb(self) -> CombedAs | None:
        """None for a run of an earlier version, which did not write it down."""
        row = self.result.get("comb")
        return CombedAs(**{**row, "locked": tuple(row["locked"])}) if isinstance(row, Mapping) else None

    @cached_property
    def answers(self) -> Answers | None:
        """None where the run left none: its task has no classes, or it is of an earlier version."""
        path = self.folder / ANSWERS
        return Answers.load(path) if path.exists() else None

    @property
    def bundle(self) -> Path:
        return self.folder / str(self.result["bundle"])


def read_finished(folder: Path) -> FinishedRun:
    """The run in `folder`, of a workspace or of the command line's own.

    Raises:
        RunError: it holds no run, or one that has not pruned anything yet.
        StorageError: its files cannot be read.
    """
    if not (folder / "spec.json").is_file():
        raise RunError(f"{folder}: holds no run; give the folder that a run was written to.")
    spec = RunSpec.from_dict(read_json(folder / "spec.json"), f"{folder}/spec.json")
    if spec.kind != "distill" or not (folder / "result.json").is_file():
        raise RunError(f"{folder}: this run has no pruned model yet; let it finish first.")
    result = read_json(folder / "result.json")
    missing = [
        key for key in ("dense", "pruned", "plan", "bundle") if not isinstance(result, dict) or key not in result
    ]
    if missing:
        raise StorageError(f"{folder}/result.json: lacks {', '.join(missing)}; it was written by another version.")
    path, run = (
        (folder / "runs.db", ALONE) if (folder / "runs.db").exists() else (database(folder.parents[1]), folder.name)
    )
    if not path.exists():
        return FinishedRun(folder, spec, result, (), {})  # the folder was moved here alone: its files still tell most
    store = Store(path)
    try:
        metrics = store.metrics(run, most=WHOLE)
        return FinishedRun(folder, spec, result, tuple(store.events(run)), metrics, store.note(run))
    finally:
        store.close()
