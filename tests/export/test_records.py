"""What exporters write, read back with the readers of the programs that it is for."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cpd.cli import main
from cpd.errors import ExportError
from cpd.export.records import EXPORTERS, export_record
from cpd.export.records.record import Record
from cpd.runs.record import read_record
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.workspace import open_workspace, run_folder

LOSSES = [2.5, 1.25, 0.1 + 0.2]  # the last one needs all its digits
CUTS = [
    (2, "cut", "layer1_0 loses 4 units and keeps 12", {"group": "layer1_0", "removed": 4}),
    (2, "cut", "layer2 loses 1 units and keeps 7", {"group": "layer2", "removed": 1}),
    (3, "eval", "top1 50.00%, as a sentence with a comma", {"metric": 0.5}),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    return open_workspace()


@pytest.fixture
def record(root: Path) -> Record:
    spec = RunSpec(
        "distill", model=f"{root}/net.py:Net", data="digits", seed=3, options={"lr": 0.01, "target": {"macs": 0.5}}
    )
    store = Store(root / "runs.db")
    store.add("distill-1", spec)
    store.launch("distill-1")
    store.begin("distill-1")
    store.advance("distill-1", [(step, "train/loss/task", loss) for step, loss in enumerate(LOSSES, 1)], (3, 3))
    store.advance("distill-1", [(0, "width/a b", 16.0), (2, "width/a b", 12.0)])
    for step, kind, text, data in CUTS:
        store.add_event("distill-1", step, kind, text, data)
    bundle = run_folder(root, "distill-1") / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "model.safetensors").write_bytes(b"weights")
    store.finish("distill-1", "finished", step=3)
    store.close()
    return read_record(root, "distill-1")


def test_csv_has_every_value_and_every_event(root: Path, record: Record, tmp_path: Path) -> None:
    assert main(["runs", "export", "distill", "--to", f"csv:{tmp_path}/out"]) == 0
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["value"]) for r in rows if r["name"] == "train/loss/task"] == LOSSES
    assert {(r["step"], r["value"]) for r in rows if r["name"] == "width/a b"} == {("0", "16.0"), ("2", "12.0")}
    with open(tmp_path / "out" / "events.csv", newline="") as file:
        told = [(int(r["step"]), r["kind"], r["text"], json.loads(r["data"])) for r in csv.DictReader(file)]
    assert told == [*CUTS, (3, "finish", "finished", {})]
    with open(tmp_path / "out" / "parameters.csv", newline="") as file:
        parameters = {r["name"]: r["value"] for r in csv.DictReader(file)}
    assert parameters["lr"] == "0.01"
    assert parameters["model"] == "net.py:Net"  # without the folders of this machine
    assert json.loads(parameters["target"]) == {"macs": 0.5}


def test_tensorboard_reads_the_scalars_and_the_story(record: Record, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    for _ in range(2):  # the second replaces the first
        export_record(record, f"tensorboard:{tmp_path}/logs")
    seen = EventAccumulator(str(tmp_path / "logs" / "distill-1"), size_guidance={"tensors": 0})
    seen.Reload()

    def values(tag: str) -> list[tuple[int, object]]:
        return [(e.step, tensor_util.make_ndarray(e.tensor_proto).ravel().tolist()[0]) for e in seen.Tensors(tag)]

    assert values("train/loss/task") == [(i, pytest.approx(loss, rel=1e-6)) for i, loss in enumerate(LOSSES, 1)]
    assert values("width/a b") == [(0, 16.0), (2, 12.0)]
    (cuts,) = values("events/cut")
    assert cuts[0] == 2
    assert cuts[1] == b"layer1\\_0 loses 4 units and keeps 12  \nlayer2 loses 1 units and keeps 7"
    times = [e.wall_time for e in seen.Tensors("train/loss/task")]
    assert record.started - 1 <= times[0] <= times[1] <= times[2] <= record.finished + 1
    assert b"lr" in values("parameters")[0][1]
    assert len(list((tmp_path / "logs" / "distill-1").iterdir())) == 1


def test_mlflow_reads_parameters_metrics_and_artefacts(record: Record, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    said = export_record(record, f"mlflow:{tmp_path}/ml")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/ml/mlflow.db")
    experiment = client.get_experiment_by_name("cpd")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in said
    assert (run.info.run_name, run.info.status) == ("distill-1", "FINISHED")
    assert run.data.params["lr"] == "0.01"
    assert run.data.tags["cpd.run"] == "distill-1"
    history = client.get_metric_history(run.info.run_id, "train/loss/task")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == list(enumerate(LOSSES, 1))
    assert run.info.start_time == round(record.started * 1000)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"events.csv", "model.safetensors"}
    assert (
        tmp_path / "ml" / "artifacts" / run.info.run_id / "artifacts" / "model.safetensors"
    ).read_bytes() == b"weights"


def test_a_missing_package_is_named_with_the_line_that_brings_it(
    root: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mlflow", "tensorboard"):
        for module in [m for m in sys.modules if m == name or m.startswith((f"{name}.", f"cpd.export.records.{name}"))]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)
        assert main(["runs", "export", "distill-1", "--to", f"{name}:{tmp_path}/out"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"needs {name}, which is missing here: python -m pip install {name}" in line
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["csv", "csv:", "excel:DIR", ""])
def test_what_is_no_exporter_is_said(record: Record, to: str) -> None:
    with pytest.raises(ExportError, match="name one of csv:DIR, tensorboard:DIR, mlflow:URI or DIR"):
        export_record(record, to)


def test_an_address_that_mlflow_does_not_take_is_one_line(record: Record) -> None:
    with pytest.raises(ExportError, match="MLflow says: .*nowhere"):
        export_record(record, "mlflow:nowhere://x")


def test_exporters_need_no_torch_and_are_not_loaded_before_they_are_asked_for(record: Record, tmp_path: Path) -> None:
    code = (
        "import sys; from cpd.export.records import EXPORTERS; from cpd.runs import record\n"
        "early = {'torch', 'mlflow', 'tensorboard'} & set(sys.modules)\n"
        "[entry.load() for entry in EXPORTERS.values()]; print(early, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
    assert said.strip() == "set() False"
    assert set(EXPORTERS) == {"csv", "tensorboard", "mlflow"}
