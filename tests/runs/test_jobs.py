"""The real jobs on a real, tiny network: what they leave is what the library itself says of the same network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import cpd
import cpd.comb.mill
from cpd.comb.findings import Findings
from cpd.comb.record import CombRecord
from cpd.errors import RunError
from cpd.importance.scores import ScoreTable
from cpd.measure.measurement import Measurement
from cpd.prune.plan import Plan
from cpd.runs.control import submit
from cpd.runs.project import create_project, project_folder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.worker import main, run_foreground
from cpd.runs.workspace import new_run_id, run_folder
from tests import tiny
from tests.runs.conftest import kill, wait, wait_over

QUICK = {"batch_size": 16, "evaluate_every": 1000, "checkpoint_s": 0.0, "score_batches": 2, "batches": [1]}


@pytest.fixture
def network() -> str:
    return tiny.SPEC


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here and in the workers: sums in another order would differ in the last bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def project(root, network):
    return create_project(root, "tiny", network, data="digits", settings={"img_size": 32})


def test_comb_score_and_measure_fill_the_project(root, store, project):
    in_this_process(root, store, project.spec("comb"))
    in_this_process(root, store, project.spec("score", options={"criteria": ["l2"], "batches": 1}))
    in_this_process(root, store, project.spec("measure", options={"batches": [2]}))
    folder = project_folder(root, project.id)
    model, inputs = cpd.load_model(project.model, settings=dict(project.settings))
    record = CombRecord.load(folder)
    assert [(g.name, g.width) for g in record.groups if g.prunable] == [("0", 12), ("3", 16)]
    assert all(g.certified for g in record.groups if g.prunable)
    assert record.model == cpd.comb(model, inputs).model
    # Every weight of unit u squared and summed, as one root: filter, norm and the columns that read it.
    scores = ScoreTable.load(folder / "scores" / "l2.json").groups["3"]
    assert (scores.argmax(), scores.shape) == (int(norms(model).argmax()), (16,))
    found = Measurement.from_dict(json.loads((folder / "baseline.json").read_text()))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.macs == 12 * 27 * 16 * 16 + 16 * 12 * 9 * 8 * 8 + 160
    assert found.images > 100
    assert [row.batch for row in found.latency] == [2]


def test_the_doctor_leaves_its_findings_and_locks_what_failed(root, store, project, monkeypatch):
    in_this_process(root, store, project.spec("comb"))
    options = {"ratios": [0.5]}
    run = in_this_process(root, store, project.spec("doctor", options=options))
    folder = project_folder(root, project.id)
    found = Findings.from_dict(json.loads((folder / "doctor.json").read_text()))
    assert (found.well, found.digest) == (True, CombRecord.load(folder).model)
    assert [(r.group, r.ratios) for r in found.rows if r.ratios] == [("0", (0.5,)), ("3", (0.5,))]
    row = store.run(run)
    assert row.step == row.total == 4

    real = cpd.comb.mill.prune

    def prune(*arguments):
        network = real(*arguments)
        if len(network.state_dict()["3.weight"]) < 16:
            network.get_parameter("3.bias").register_hook(lambda grad: grad / 0)
        return network

    monkeypatch.setattr("cpd.comb.mill.prune", prune)
    in_this_process(root, store, project.spec("doctor", options=options))
    groups = CombRecord.load(folder).by_name
    assert groups["0"].prunable
    assert not groups["3"].prunable
    assert groups["3"].reason.startswith("the doctor found: backward fails when cut alone by 50%")
    monkeypatch.undo()
    in_this_process(root, store, project.spec("doctor", options=options))
    assert CombRecord.load(folder).by_name["3"].prunable


def in_this_process(root: Path, store: Store, spec: RunSpec) -> str:
    """The worker's own code, without the seconds that a new process takes to import torch."""
    run = new_run_id(spec.kind)
    run_folder(root, run).mkdir()
    store.add(run, spec)
    store.launch(run)
    assert main([str(run_folder(root, run))]) == 0, store.run(run).error
    assert store.run(run).state == "finished"
    return run


def norms(model: torch.nn.Module) -> torch.Tensor:
    state = model.state_dict()
    own = state["3.weight"].square().sum((1, 2, 3)) + state["3.bias"].square() + state["9.weight"].square().sum(0)
    return own + state["4.weight"].square() + state["4.bias"].square()


def test_a_distillation_that_was_killed_hands_over_the_same_file(root, store, project, one_thread):
    """Two workers, one network: to the last bit what one worker makes, while and after cutting."""
    options = QUICK | {"steps": 30, "target": {"macs": 0.5}, "cut_share": 0.6, "chunks": 4}
    spec = project.spec("distill", seed=5, options=options)
    wild = submit(root, spec)
    wait(lambda: store.run(wild).step >= 8, 120, "step 8")
    assert kill(run_folder(root, wild) / "lock")
    assert wait_over(store, wild, 120).state == "finished", store.run(wild).error
    assert store.events(wild, kinds=["resume"])[0].step >= 7
    calm = in_this_process(root, store, spec)

    files = [run_folder(root, run) / "bundle" / "model.safetensors" for run in (calm, wild)]
    tensors = [load_file(file) for file in files]
    assert list(tensors[0]) == list(tensors[1])
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    names = ["train/loss", "cost/macs", "width/*", "val/top1"]
    assert store.metrics(wild, names) == store.metrics(calm, names)
    cuts = [[(e.step, e.text, e.data) for e in store.events(run, kinds=["cut"])] for run in (calm, wild)]
    assert cuts[0] == cuts[1] != []

    result = json.loads((run_folder(root, calm) / "result.json").read_text())
    plan = Plan.from_json(json.dumps(result["plan"]))
    dense, pruned = (Measurement.from_dict(result[name]) for name in ("dense", "pruned"))
    assert pruned.macs <= 0.5 * dense.macs
    model, _ = cpd.load_model(project.model, weights=files[0], settings=dict(project.settings))
    widths = [len(model.state_dict()[f"{name}.weight"]) for name in ("0", "3")]
    assert widths == [len(plan.keep[name]) for name in ("0", "3")]
    assert pruned.parameters == sum(p.numel() for p in model.parameters())


def test_training_in_a_folder_leaves_a_model_that_opens(network, tmp_path):
    threads = torch.get_num_threads()
    spec = RunSpec(
        "train", model=network, data="digits", seed=1, options=QUICK | {"steps": 6}, settings={"img_size": 32}
    )
    row = run_foreground(tmp_path / "out", spec)
    assert (row.state, row.step) == ("finished", 6), row.error
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    model, _ = cpd.load_model(network, weights=tmp_path / "out" / result["bundle"], settings={"img_size": 32})
    assert result["trained"]["parameters"] == sum(p.numel() for p in model.parameters())
    series = Store(tmp_path / "out" / "runs.db").metrics("run", ["train/loss"])["train/loss"]
    assert series.steps == (1, 2, 3, 4, 5, 6)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "options, error",
    [
        ({}, 'pruning needs either a plan or a target such as {"macs": 0.25}, and not both.'),
        ({"target": {"macs": 0.5}, "lr": -1}, "setting lr=-1"),
        ({"target": {"watts": 0.5}}, "target {'watts': 0.5}: name one of"),
        ({"target": {"macs": 0.5}, "speed": 3}, "no training setting is called 'speed'"),
        ({"plan": {"schema": 1}}, "plan: not a pruning plan"),
    ],
)
def test_impossible_distillations_end_in_one_sentence(network, tmp_path, options, error):
    spec = RunSpec("distill", model=network, data="digits", options=options, settings={"img_size": 32})
    row = run_foreground(tmp_path / "out", spec)
    assert row.state == "failed"
    assert row.error.startswith(error)


def test_a_missing_gpu_and_missing_data_are_named(network, tmp_path):
    spec = RunSpec("distill", model=network, data="", options={"target": {"macs": 0.5}}, settings={"img_size": 32})
    assert run_foreground(tmp_path / "a", spec).error == "this run needs data; name a data set, e.g. digits."
    if not torch.cuda.is_available():
        spec = RunSpec("measure", model=network, device="cuda", settings={"img_size": 32})
        assert run_foreground(tmp_path / "b", spec).error.startswith("device 'cuda': this machine has")


def test_another_run_in_the_folder_is_left_alone(network, tmp_path):
    spec = RunSpec("comb", model=network, settings={"img_size": 32}, options={"certify": False})
    assert run_foreground(tmp_path / "out", spec).state == "finished"
    before = (tmp_path / "out" / "comb.json").read_bytes()
    with pytest.raises(RunError, match="holds another run"):
        run_foreground(tmp_path / "out", RunSpec("comb", model=network, settings={"img_size": 64}))
    assert (tmp_path / "out" / "comb.json").read_bytes() == before
    shutil.rmtree(tmp_path / "out")
    assert run_foreground(tmp_path / "out", spec).state == "finished"
