"""A run of a workspace or of the command line's own folder, as exporters take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpd.errors import RunError
from cpd.export.records.record import Record
from cpd.runs.finished import WHOLE
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.workspace import ALONE, database, run_folder

_FILES = ("result.json", "bundle/model.safetensors")


def read_record(root: Path, run: str) -> Record:
    """Everything that the run `run` of the workspace `root` has recorded so far."""
    return _read(database(root), run, run_folder(root, run))


def read_record_of(folder: Path) -> Record:
    """That of the run in a folder of its own.

    Raises:
        RunError: there is none.
    """
    if not (folder / "runs.db").is_file():
        raise RunError(f"{folder}: holds no run of its own; give a folder that `--out` named, or the id of a run.")
    return _read(folder / "runs.db", ALONE, folder)


def public_name(name: str) -> str:
    """A SPEC, data set or file without the folders of this machine: they are of no use, and no business, of another."""
    head, _, tail = name.rpartition(":")
    parts = [Path(part).name if part and Path(part).is_absolute() else part for part in (head, tail)]
    return ":".join(parts) if head else parts[1]


def _read(path: Path, run: str, folder: Path) -> Record:
    store = Store(path)
    try:
        row, events, metrics = store.run(run), store.events(run), store.metrics(run, most=WHOLE)
    finally:
        store.close()
    return Record(
        folder.resolve().name if run == ALONE else run,
        row.project,
        row.kind,
        row.state,
        row.started or row.created,
        row.finished,
        parameters(row.spec),
        {name: (series.steps, series.values) for name, series in metrics.items()},
        [{**e.data, "step": e.step, "time": e.time, "kind": e.kind, "text": e.text} for e in events],
        {Path(name).name: folder / name for name in _FILES if (folder / name).is_file()},
    )


def parameters(spec: RunSpec) -> dict[str, str]:
    """What the run is and how it is done, as text; a plan is told by its widths, and is in result.json whole."""
    row: dict[str, Any] = {"kind": spec.kind, "model": spec.model, "weights": spec.weights, "data": spec.data}
    row |= {"device": spec.device, "seed": spec.seed}
    row |= {f"model.{name}": value for name, value in spec.settings.items()}
    for name, value in spec.options.items():
        if name == "plan" and isinstance(value, dict) and "groups" in value:
            value = {group["group"]: len(group["keep"]) for group in value["groups"]}
        row.setdefault(name, value)
    return {name: _text(value) for name, value in row.items() if value not in (None, "", {})}


def _text(value: Any) -> str:
    return public_name(value) if isinstance(value, str) else json.dumps(value)
