"""Runs that several processes share: what they make is what one process makes, and no death among them loses a step."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from cpd.distill.engine import Engine
from cpd.distill.settings import TrainSettings
from cpd.distill.state import own_draws, restore_own_draws, seed_everything
from cpd.errors import DeviceError, RunError
from cpd.runs.checkpoint import load_checkpoint
from cpd.runs.control import submit
from cpd.runs.crew import without_torchrun, worker_command, worker_environment
from cpd.runs.lock import holder
from cpd.runs.memory import halved, spec_of
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec
from cpd.runs.worker import run_foreground
from cpd.runs.workspace import run_folder
from tests.runs.conftest import REPOSITORY, wait, wait_over
from tests.within import within

NETWORK = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.SiLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

example_inputs = (torch.zeros(2, 3, 32, 32),)
"""
# SiLU, because a unit that ReLU has silenced has no variance, and batch norm divides its rounding by almost nothing. Plain
# SGD, because AdamW turns the rounding of a gradient that is zero into a step of full length.
QUICK = {
    "steps": 30, "batch_size": 32, "accumulate": 2, "optimizer": "sgd", "lr": 0.01, "mixup": 0.4, "evaluate_every": 10, "checkpoint_s": 0.0,
    "target": {"macs": 0.5}, "cut_share": 0.6, "chunks": 4, "score_batches": 2, "batches": [1],
}  # fmt: skip


@pytest.fixture
def learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "net.py").write_text(NETWORK)
    return RunSpec("distill", model=f"{tmp_path}/net.py:Net", data="digits", seed=3, options=QUICK)


def of_processes(spec: RunSpec, number: int) -> RunSpec:
    return RunSpec(**{**vars(spec), "options": {**spec.options, "processes": number}})


def others(lock: Path) -> list[psutil.Process]:
    """The processes that share a run with the holder of its lock."""
    first = holder(lock)
    found = [p for p in psutil.process_iter(["cmdline"]) if str(lock.parent) in (p.info["cmdline"] or [])]
    return [p for p in found if p.pid != first and "torch.distributed.run" not in p.info["cmdline"]]


def test_two_processes_make_what_one_makes_whatever_dies_on_the_way(root, store, learning, tmp_path):
    # The least squares of a takeover make a thousandfold of any rounding: right, and of no use to compare by.
    learning = RunSpec(**{**vars(learning), "options": {**learning.options, "take_over": False}})
    run = submit(root, of_processes(learning, 2))
    lock = run_folder(root, run) / "lock"
    wait(lambda: store.run(run).step >= 6, 240, "step 6")
    (second,) = others(lock)
    second.kill()
    wait(lambda: len(store.events(run, kinds=["resume"])) == 1, 240, "the restart")
    assert "the worker died" in store.events(run, kinds=["error"])[0].text
    row = wait_over(store, run, 240)
    assert (row.state, row.step) == ("finished", 30), row.error
    wait(lambda: not others(lock), 30, "the end of the second process")

    alone = tmp_path / "alone"
    assert run_foreground(alone, learning).state == "finished"
    one, two = (load_file(folder / "bundle" / "model.safetensors") for folder in (alone, run_folder(root, run)))
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in two.items()}
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    calm, wild = (
        json.loads((folder / "result.json").read_text())["pruned"]["quality"]
        for folder in (alone, run_folder(root, run))
    )
    assert wild == pytest.approx(calm, abs=0.01)


def test_batch_norm_over_two_processes_is_batch_norm_over_the_whole_batch(tmp_path):
    torch.manual_seed(0)
    x, upstream = torch.randn(8, 3, 4, 4, dtype=torch.double), torch.randn(8, 3, 4, 4, dtype=torch.double)
    weight, bias = torch.randn(3, dtype=torch.double), torch.randn(3, dtype=torch.double)
    torch.save([x, upstream, weight, bias], tmp_path / "in.pt")
    code = """
import sys, torch, torch.distributed as dist
from cpd.distill.whole_batch import WholeBatch
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
for form in ("module", "operator"):
    x, upstream, weight, bias = torch.load(f"{folder}/in.pt", weights_only=True)
    x = x[rank::2].clone().requires_grad_()
    weight.requires_grad_()
    mean, var = torch.zeros(3, dtype=torch.double), torch.ones(3, dtype=torch.double)
    with WholeBatch():
        if form == "module":
            y = torch.nn.functional.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)
            still = torch.nn.functional.batch_norm(x, mean.clone(), var.clone(), weight, bias, False)
        else:
            y = torch.ops.aten.batch_norm.default(x, weight, bias, mean, var, True, 0.1, 1e-5, True)
            still = torch.ops.aten.batch_norm.default(x, weight, bias, mean.clone(), var.clone(), False, 0.1, 1e-5, True)
    (y * upstream[rank::2]).sum().backward()
    dist.all_reduce(weight.grad)
    torch.save([y.detach(), x.grad, weight.grad, mean, var, still.detach()], f"{folder}/out-{form}-{rank}.pt")
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(rank)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": loopback()},
        )
        for rank in range(2)
    ]
    with within(both[0], 240, "the first process"), within(both[1], 240, "the second process"):
        assert [process.wait() for process in both] == [0, 0]
    for form in ("module", "operator"):
        whole, gain = x.clone().requires_grad_(), weight.clone().requires_grad_()
        mean, var = torch.zeros(3, dtype=torch.double), torch.ones(3, dtype=torch.double)
        y = F.batch_norm(whole, mean, var, gain, bias, True, 0.1, 1e-5)
        (y * upstream).sum().backward()
        still = F.batch_norm(x, mean, var, weight, bias, False)
        for rank in range(2):
            found = torch.load(tmp_path / f"out-{form}-{rank}.pt", weights_only=True)
            parts = (y[rank::2].detach(), whole.grad[rank::2], gain.grad, mean, var, still[rank::2])
            for mine, theirs in zip(found, parts, strict=True):
                torch.testing.assert_close(mine, theirs)


def loopback() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def test_every_process_draws_its_own_and_goes_on_drawing_where_it_was(monkeypatch):
    cpu = torch.device("cpu")
    seed_everything(5, 0)
    first = torch.rand(4)
    seed_everything(5, 1)
    assert not torch.equal(torch.rand(4), first)
    kept = own_draws(cpu)
    wanted = torch.rand(4)
    restore_own_draws([kept], 5, 7, 1, cpu)
    assert torch.equal(torch.rand(4), wanted)
    restore_own_draws([kept], 5, 7, 2, cpu)  # a third process that was not there when it was saved
    assert not torch.equal(torch.rand(4), wanted)


def test_what_cannot_be_shared_is_said():
    with pytest.raises(RunError, match="processes=2, and 1 is at work"):
        Engine(TrainSettings(processes=2))
    with pytest.raises(RunError, match="processes=0"):
        TrainSettings(processes=0)
    with pytest.raises((DeviceError, RunError)):
        Engine(TrainSettings(processes=2, device="cuda:1"))


def test_memory_that_runs_out_halves_what_each_process_sees():
    spec = RunSpec("distill", options={"batch_size": 64, "processes": 2})
    row = Run("distill-1", spec, "running", *[0.0] * 7, *[0] * 3, "")
    assert "with 32 images at a time" in halved(row)
    assert spec_of(Run(**{**vars(row), "halvings": 1})).options["accumulate"] == 2


def test_a_process_that_a_shared_one_starts_is_on_its_own(tmp_path):
    (tmp_path / "spec.json").write_text(RunSpec("train", options={"processes": 3}).to_json())
    command = worker_command(tmp_path)
    assert command[-3:] == ["-m", "cpd.runs.worker", str(tmp_path)]
    assert "--nproc-per-node=3" in command
    shared = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "3", "MASTER_PORT": "1", "HOME": "/h"}
    assert without_torchrun(shared) == {"HOME": "/h"}
    assert without_torchrun({"RANK": "0", "HOME": "/h"}) == {
        "RANK": "0",
        "HOME": "/h",
    }  # whose that is, is not ours to say
    assert worker_environment(tmp_path, {"OMP_NUM_THREADS": "5"})["OMP_NUM_THREADS"] == "5"
    (tmp_path / "spec.json").write_text(RunSpec("train").to_json())
    assert worker_command(tmp_path)[1:3] == ["-P", "-m"]


def test_on_the_command_line_ctrl_c_stops_all_of_them_at_one_step(tmp_path, learning):
    (tmp_path / "spec.json").write_text(of_processes(learning, 2).to_json())
    code = (
        "import sys; from pathlib import Path; from cpd.runs.spec import RunSpec; from cpd.runs.worker import run_foreground\n"
        "class Tell:\n"
        "    def metric(self, step, values): pass\n"
        "    def event(self, step, kind, text, data): pass\n"
        "    def progress(self, step, total): print(step, total, flush=True)\n"
        "row = run_foreground(Path(sys.argv[2]), RunSpec.from_json(Path(sys.argv[1]).read_text()), Tell())\n"
        "print(row.state, row.step, row.error)"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(tmp_path / "spec.json"), str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as shell,
        within(shell, 240, "a run of two processes, and its stop"),
    ):
        assert shell.stdout is not None
        for line in shell.stdout:
            if int(line.split()[0]) >= 2:
                break
        shell.send_signal(signal.SIGINT)
        state, step, *error = shell.stdout.read().split("\n")[-2].split()
    assert (state, error) == ("stopped", [])
    saved = load_checkpoint(out / "checkpoints").state
    assert saved["step"] == int(step)
    assert len(saved["draws"]) == 1  # of the second process, which was there; the first one's are where they always are
    assert not others(out / "lock")
