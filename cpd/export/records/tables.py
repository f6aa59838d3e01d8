"""A run as three CSV files: metrics.csv (step, name, value), events.csv and parameters.csv."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cpd.export.records.record import Metrics, Record
from cpd.files import make_folder, replacing


def write(record: Record, place: str) -> str:
    """The three files in the folder `place`, each whole; those of an earlier export are replaced.

    Raises:
        StorageError: it cannot be written.
    """
    folder = make_folder(Path(place).expanduser())
    for name, text in (
        ("metrics.csv", metrics_csv(record.metrics)),
        ("events.csv", events_csv(record.events)),
        ("parameters.csv", _text(["name", "value"], record.parameters.items())),
    ):
        with replacing(folder / name) as file:
            file.write(text.encode())
    return f"{folder}: metrics.csv, events.csv, parameters.csv"


def metrics_csv(metrics: Metrics) -> str:
    """One row a value, by name and step; values to the last digit."""
    rows = (
        (step, name, repr(float(value)))
        for name, (steps, values) in sorted(metrics.items())
        for step, value in zip(steps, values, strict=True)
    )
    return _text(["step", "name", "value"], rows)


def events_csv(events: Sequence[Any]) -> str:
    """One row an event; its time in UTC, what else it carries as JSON."""
    rows = (
        (e["step"], _utc(e["time"]), e["kind"], e["text"], json.dumps({k: v for k, v in e.items() if k not in _OWN}))
        for e in events
    )
    return _text(["step", "time", "kind", "text", "data"], rows)


_OWN = ("step", "time", "kind", "text")


def _text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f"{seconds % 1:.3f}"[1:] + "Z"
