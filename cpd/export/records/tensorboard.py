"""A run as a TensorBoard log: every metric a scalar, every kind of event and the parameters as text.

TensorBoard's own writer and message types; neither torch nor TensorFlow is imported.
"""

from __future__ import annotations

import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it finds old-fashioned in its own dependencies
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

from cpd.export.records.record import Record
from cpd.files import make_folder, storage_error

_MARK = ".cpd"  # how the names of our log files end


def write(record: Record, place: str) -> str:
    """A log in `place`/NAME, so that `tensorboard --logdir PLACE` shows runs side by side; it replaces an earlier one.

    Raises:
        StorageError: it cannot be written.
    """
    folder = make_folder(Path(place).expanduser() / record.name)
    earlier = list(folder.glob(f"events.out.tfevents.*{_MARK}"))
    when = record.clock()
    try:
        writer = EventFileWriter(str(folder), filename_suffix=_MARK)
        for name, (steps, values) in sorted(record.metrics.items()):
            for step, value in zip(steps, values, strict=True):
                _add(writer, scalar_pb(name, value), step, when(step))
        if record.parameters:
            _add(writer, text_pb("parameters", _table(record)), 0, record.started)
        for (kind, step), rows in groupby(record.events, key=lambda row: (row["kind"], row["step"])):
            told = list(rows)  # several of one kind at one step are one text: TensorBoard would show the last alone
            text = "  \n".join(_plain(row["text"]) for row in told)
            _add(writer, text_pb(f"events/{kind}", text), step, float(told[-1]["time"]))
        writer.close()
        for path in earlier:
            path.unlink()
    except OSError as error:
        raise storage_error(error, folder) from error
    return f"{folder}; tensorboard --logdir {place} shows it"


def _add(writer: Any, summary: Any, step: int, wall_time: float) -> None:
    writer.add_event(Event(summary=summary, step=int(step), wall_time=wall_time))


def _table(record: Record) -> str:
    rows = [f"| {_plain(name)} | {_plain(value)} |" for name, value in record.parameters.items()]
    return "\n".join(["| parameter | value |", "|---|---|", *rows])


def _plain(text: str) -> str:
    """As Markdown that shows these very characters."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in str(text).replace("\n", " "))
