"""A run as a run of MLflow: parameters, metrics, tags, events as a table, and the files it left as artefacts."""

from __future__ import annotations

import math
import os
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report its use to its makers

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from cpd.errors import ExportError, StorageError
from cpd.export.records.record import Record
from cpd.export.records.tables import events_csv
from cpd.files import make_folder

_BATCH = 500  # metrics in one message; a server takes 1000
_LONGEST = 6000  # characters of a parameter that MLflow keeps
_ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. /:")  # what a metric may be called


def write(record: Record, place: str) -> str:
    """A new run in the experiment named after the project ("cpd" without one).

    Args:
        place: address of a tracking server or database as MLflow takes it, or a folder, which gets the database mlflow.db
            and the artefacts beside it.
    Raises:
        ExportError: what MLflow says against it.
        StorageError: the folder cannot be made.
    """
    address, artefacts = place, None
    if "://" not in place and not place.startswith("sqlite:"):
        folder = make_folder(Path(place).expanduser()).resolve()
        address, artefacts = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
    try:
        client = MlflowClient(tracking_uri=address)
        name = record.project or "cpd"
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, artefacts)
        made = client.create_run(experiment, start_time=_ms(record.started), run_name=record.name).info.run_id
        _fill(client, made, record)
        if record.state in _ENDS:
            client.set_terminated(made, _ENDS[record.state], _ms(record.finished))
    except ImportError as error:  # of what only some addresses need, such as a database
        raise ExportError(
            f"mlflow:{place}: needs {error.name}, which is missing here: python -m pip install mlflow"
        ) from error
    except MlflowException as error:
        text = " ".join(str(error).split())[:300]
        raise ExportError(f"mlflow:{place}: MLflow says: {text}") from error
    except OSError as error:
        raise StorageError(f"mlflow:{place}: cannot be written ({error}).") from error
    return f"{address}: experiment {name}, run {made}"


def _fill(client: MlflowClient, made: str, record: Record) -> None:
    when = record.clock()
    parameters = [Param(name, value[:_LONGEST]) for name, value in record.parameters.items()]
    tags = [RunTag("cpd.run", record.name), RunTag("cpd.kind", record.kind), RunTag("cpd.state", record.state)]
    for start in range(0, len(parameters), 100):
        client.log_batch(made, params=parameters[start : start + 100])
    client.log_batch(made, tags=tags)
    rows = [
        Metric(_allowed(name), float(value), _ms(when(step)), int(step))
        for name, (steps, values) in sorted(record.metrics.items())
        for step, value in zip(steps, values, strict=True)
        if not math.isnan(value)
    ]
    for start in range(0, len(rows), _BATCH):
        client.log_batch(made, metrics=rows[start : start + _BATCH])
    client.log_text(made, events_csv(record.events), "events.csv")
    for path in record.files.values():
        client.log_artifact(made, str(path))


def _allowed(name: str) -> str:
    return "".join(c if c in _NAME else "_" for c in name)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
