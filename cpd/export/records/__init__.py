"""What a run recorded, written for programs that follow experiments: one exporter a file, asked for by name.

No exporter costs anything until it is asked for: what it needs beside this project is imported then, and where it is
missing, the line that installs it is said.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from cpd.errors import ExportError
from cpd.export.records.record import Exporter, Record


@dataclass(frozen=True)
class Entry:
    """One exporter.

    Attributes:
        place: what is to stand after `name:`.
        install: the line that brings the packages it needs, "" where it needs none.
    """

    name: str
    title: str
    place: str
    home: str  # module:function
    install: str = ""

    def load(self) -> Exporter:
        """Raises ExportError with the line to type where a package is missing."""
        module, _, function = self.home.partition(":")
        try:
            exporter: Exporter = getattr(importlib.import_module(module), function)
        except ImportError as error:
            missing = (error.name or self.name).partition(".")[0]
            raise ExportError(f"{self.title} needs {missing}, which is missing here: {self.install}") from error
        return exporter


EXPORTERS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("csv", "CSV", "DIR", "cpd.export.records.tables:write"),
        Entry(
            "tensorboard",
            "TensorBoard",
            "DIR",
            "cpd.export.records.tensorboard:write",
            "python -m pip install tensorboard",
        ),
        Entry("mlflow", "MLflow", "URI or DIR", "cpd.export.records.mlflow:write", "python -m pip install mlflow"),
    )
}


def export_record(record: Record, to: str) -> str:
    """Write a record to, say, "csv:DIR"; where it went, in words.

    Raises:
        ExportError: no such exporter, a package that is missing, or what the other program says against it.
        StorageError: the place cannot be written.
    """
    name, colon, place = to.partition(":")
    if name not in EXPORTERS or not place:
        forms = ", ".join(f"{entry.name}:{entry.place}" for entry in EXPORTERS.values())
        raise ExportError(f"{to!r}: name one of {forms}.")
    return EXPORTERS[name].load()(record, place)
