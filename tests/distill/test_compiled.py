"""Compiled training: the same network in the end, cut, stopped and resumed on the way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

import cpd
from cpd.distill import compiled
from cpd.distill.settings import TrainSettings
from cpd.distill.trainer import train
from cpd.errors import RunError
from cpd.prune.plan import uniform_plan
from cpd.tasks.task import Task
from tests.distill.test_layout import ROWS, Pooled

COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No pool of compile processes is left behind, and nothing comes out of an earlier run's cache."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    with inductor.patch(compile_threads=1):
        yield


def keys(state: Any, at: str = "") -> list[str]:
    """Where every value of nested tables stands."""
    return (
        [place for name, value in state.items() for place in keys(value, f"{at}/{name}")]
        if isinstance(state, dict)
        else [at]
    )


@COMPILER
def test_it_learns_the_same_is_compiled_after_every_cut_and_goes_on(
    inputs: tuple[Tensor, ...], task: Task, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = Pooled().eval()
    comb = cpd.comb(net, inputs)
    plan = uniform_plan(comb, 0.5)
    rows = ROWS | {"schedule": "one-shot", "score_batches": 2}
    plain = memory()
    usual = train(net, inputs, task, TrainSettings(**rows), plain, comb, plan)
    made: list[nn.Module] = []
    real = torch.compile

    def counted(what: Any, **how: Any) -> Any:
        if not isinstance(what, nn.Module):
            return real(what, **how)  # the probe: all the way down to a C++ compiler
        made.append(what)
        return real(
            what, backend="aot_eager", **how
        )  # captured and differentiated as always, not written as C++: minutes

    monkeypatch.setattr(torch, "compile", counted)
    told = memory(stop_at=4)
    train(net, inputs, task, TrainSettings(**rows, compile=True), told, comb, plan)
    assert len(made) == 3  # the teacher, the dense student, the student after its cut
    other = train(net, inputs, task, TrainSettings(**rows, compile=True), told, comb, plan)
    assert len(made) == 5
    assert isinstance(other.module, torch.fx.GraphModule)  # the network itself is handed over
    assert keys(told.saved[-1][1]["student"]) == keys(plain.saved[-1][1]["student"])
    for (name, a), b in zip(usual.module.state_dict().items(), other.module.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


def test_where_it_cannot_be_one_line_says_so(inputs: tuple[Tensor, ...], task: Task, memory: Any) -> None:
    torch._dynamo.reset()
    told = memory()
    nowhere = inductor.patch({"cpp.cxx": ("/nowhere/g++",)})
    with nowhere, pytest.raises(RunError, match="compile does not work here, it needs a C.. compiler"):
        train(Pooled(), inputs, task, TrainSettings(**ROWS, compile=True), told)
    assert not told.metrics  # before anything was done


def test_a_network_that_the_compiler_does_not_take_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(graph: Any, _: Any) -> Any:
        raise RuntimeError("no such operator")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **how: real(module, backend=refuse, **how))
    with pytest.raises(RunError, match="compile does not work with this network, turn it off"):
        compiled.compiled(nn.Linear(2, 2))(torch.zeros(1, 2))
