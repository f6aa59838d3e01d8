"""The arithmetic of the accuracy benchmark, by hand; what it trains takes too long for a test."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # for bench.py, which takes it out again

from benchmarks import accuracy
from benchmarks.accuracy_cells import FULL, METHODS, QUICK, SPEC, Budget, Lab, digest, parameters


def cell(method: str, target: float, seed: int, top1: float, held: float = 0.5, lr: float = 0.01) -> dict[str, Any]:
    row = {"method": method, "target": target, "seed": seed, "top1": top1, "held": held, "lr": lr}
    return row | {"macs": 1 / target, "parameters": 0.5, "cpu_s": 1.0}


def test_the_rate_is_chosen_by_held_out_images_and_never_by_test_images() -> None:
    tried = [
        cell("tp-l2", 2.0, 0, top1=0.9, held=0.7, lr=0.1),
        cell("tp-l2", 2.0, 0, top1=0.1, held=0.8, lr=0.03),
        cell("ours", 2.0, 0, top1=0.9, held=0.6, lr=0.03),
        cell("ours", 2.0, 0, top1=0.1, held=0.6, lr=0.01),
    ]
    assert accuracy.best_rates(tried) == {"tp-l2": 0.03, "ours": 0.01}


def test_mean_and_spread_are_of_the_seeds_of_one_target() -> None:
    rows = [cell("ours", 3.0, seed, top1) for seed, top1 in ((2, 0.83), (0, 0.81), (1, 0.82))] + [
        cell("ours", 2.0, 0, 0.9)
    ]
    two, three = accuracy.summed_up(rows)
    assert (two["target"], three["target"]) == (2.0, 3.0)
    assert three["values"] == pytest.approx([81.0, 82.0, 83.0])
    assert three["mean"] == pytest.approx(82.0)
    assert three["sd"] == pytest.approx(1.0)


def test_ours_is_measured_against_the_best_rival_and_not_against_its_own_parts() -> None:
    means = {
        "tp-l2": 0.80,
        "tp-taylor": 0.70,
        "tp-taylor-kd": 0.81,
        "released": 0.79,
        "comb": 0.9,
        "comb-kd": 0.9,
        "ours": 0.82,
    }
    rows = [cell(name, target, 0, top1 - 0.1 * (target > 2)) for name, top1 in means.items() for target in (2.0, 4.3)]
    rows[-1]["top1"] = 0.70  # ours at 4.3x, a point below
    assert accuracy.leads(accuracy.summed_up(rows)) == pytest.approx({2.0: 1.0, 4.3: -1.0})


def test_every_method_is_trained_by_one_budget() -> None:
    """A budget says nothing of methods, and cells of another one lie elsewhere."""
    from dataclasses import asdict, fields

    assert not {field.name for field in fields(Budget)} & set(METHODS)
    assert len({digest(asdict(budget)) for budget in (Budget(), QUICK, FULL)}) == 3
    assert sum(method.rival for method in METHODS.values()) == 5


def test_a_network_that_the_rival_cut_is_opened_again_from_its_tensors(tmp_path: Path) -> None:
    tp = pytest.importorskip("torch_pruning", reason="the rival is not installed; benchmarks/requirements.txt names it")
    import torch
    from safetensors.torch import save_file

    from cpd.models import load_model

    model, inputs = load_model(f"{SPEC}resnet20")
    theirs = copy.deepcopy(model).eval()
    pruner = tp.pruner.BasePruner(
        theirs, inputs[0], importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.5, global_pruning=True,
        ignored_layers=[theirs.linear, theirs.conv1, *(part.conv2 for part in theirs.modules() if hasattr(part, "conv2"))],
    )  # fmt: skip
    pruner.step()
    file = tmp_path / "cut.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}, file)

    again = Lab.opened(SimpleNamespace(model=model), file).eval()  # type: ignore[arg-type]

    assert torch.equal(again(inputs[0]), theirs(inputs[0]))
    assert parameters(again) == parameters(theirs) < parameters(model)
