"""A teacher of another architecture: what it is shown, what it may teach, and a run that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import cpd
from cpd.cli import main
from cpd.comb.comb import Comb
from cpd.distill.settings import TrainSettings
from cpd.distill.teacher import Teacher, check_teacher, digest, fitted_to
from cpd.distill.trainer import train
from cpd.errors import DataError, PlanError
from cpd.measure.accuracy import accuracy
from cpd.prune.plan import uniform_plan
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.tasks import load_task
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.task import Task
from tests import tiny


def other() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_it_is_shown_images_normalised_as_its_own_were() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mine, its = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)), Normalisation((0.1, 0.5, 0.6), (1.0, 0.5, 0.22))
    torch.testing.assert_close(Teacher(nn.Identity(), mine, its)(mine.apply(pixels)), its.apply(pixels))
    assert torch.equal(Teacher(nn.Identity(), mine, mine)(mine.apply(pixels)), mine.apply(pixels))


def test_it_teaches_a_network_that_is_cut(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    teacher = other()
    losses = {"soft_logits": 1.0, "hard_labels": 0.5}
    settings = TrainSettings(steps=4, batch_size=32, losses=losses, schedule="few-step", warmup=0.0, augment=False)
    told = memory()
    plan = uniform_plan(comb, 0.3)
    result = train(model, inputs, task, settings, told, comb, plan, teacher=teacher)
    assert result.plan == plan
    assert told.metrics[0, "teacher/top1"] == told.metrics[4, "teacher/top1"] == accuracy(teacher, task)
    assert result.teacher != pytest.approx(accuracy(model, task))
    # The first step's loss by hand, of the dense student in training mode; its dropout is drawn as the run drew it.
    images, _ = next(task.train_batches(32, 0, augment=False))
    with torch.no_grad():
        torch.manual_seed(0)
        mine, its = model.train()(images) / 4, teacher(images) / 4
        soft = 16 * (its.softmax(1) * (its.log_softmax(1) - mine.log_softmax(1))).sum(1).mean()
    assert told.metrics[1, "train/loss/soft_logits"] == pytest.approx(float(soft), rel=1e-4)


def test_its_features_cannot_be_compared(
    model: nn.Module, comb: Comb, inputs: tuple[Tensor, ...], task: Task, memory: Any
) -> None:
    for name in ("features", "attention_transfer"):
        settings = TrainSettings(steps=1, losses={name: 1.0, "soft_logits": 1.0})
        with pytest.raises(PlanError, match=rf"^{name}: .*need the dense model as teacher"):
            train(model, inputs, task, settings, memory(), comb, uniform_plan(comb, 0.3), teacher=other())


def test_one_that_does_not_fit_the_data_is_refused(inputs: tuple[Tensor, ...], task: Task) -> None:
    check_teacher(other(), inputs, task, "other")
    with pytest.raises(DataError, match=r"teacher wide does not take the student's images \(1, 8, 8\)"):
        check_teacher(nn.Sequential(nn.Flatten(), nn.Linear(65, 10)), inputs, task, "wide")
    with pytest.raises(DataError, match="teacher few: digits has 10 classes and the model gives 3 scores"):
        check_teacher(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), inputs, task, "few")


def test_maps_of_another_size_are_brought_to_the_students() -> None:
    ramp = torch.arange(8.0).expand(2, 3, 8, 8)
    small = fitted_to(ramp, torch.zeros(2, 3, 4, 4))
    assert torch.equal(small[0, 0, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))  # between two neighbours each
    assert fitted_to(ramp, torch.zeros(2, 3, 8, 8)) is ramp


def test_its_digest_is_of_what_it_holds() -> None:
    one, same = other(), other()
    assert digest(one) == digest(same)
    with torch.no_grad():
        same[1].bias[3] += 1e-6
    assert digest(one) != digest(same)


def test_a_run_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, other_net = tiny.SPEC, tiny.LINEAR
    weights, again = tmp_path / "t.safetensors", tmp_path / "again"
    teacher, inputs = cpd.load_model(other_net, settings={"img_size": 16})
    with torch.no_grad():
        teacher[1].weight.mul_(-1)  # not what the same seed gives
    save_file(teacher.state_dict(), weights)
    run = ["run", net, "--data", "digits", "--target", "macs=0.6", "--out", str(tmp_path / "run")]
    run += [
        "--set",
        "img_size=16",
        "--steps",
        "3",
        "--batch-size",
        "16",
        "--teacher-set",
        "img_size=16",
        "--teacher-weights",
        str(weights),
    ]
    assert main(run) == 2
    assert "belong to a --teacher SPEC" in capsys.readouterr().err
    assert main([*run, "--teacher", other_net, "--loss", "features=1"]) == 2
    assert "need the dense model as teacher" in capsys.readouterr().err
    assert main([*run, "--teacher", other_net, "--out", str(again)]) == 0
    assert json.loads((again / "spec.json").read_text())["options"]["teacher_settings"] == {"img_size": 16}
    store = Store(again / "runs.db")
    shown = store.metrics(store.list_runs()[0].id, ["teacher/top1"])["teacher/top1"]
    store.close()
    expected = accuracy(teacher, load_task("digits", inputs, net))
    assert set(shown.values) == {expected}
    untaught, _ = cpd.load_model(other_net, settings={"img_size": 16})
    assert expected != accuracy(untaught, load_task("digits", inputs, net))


def test_its_paths_are_anchored(tmp_path: Path) -> None:
    for name in ("net.py", "t.safetensors"):
        (tmp_path / name).touch()
    options = {"teacher": "net.py:Other", "teacher_weights": "t.safetensors", "target": {"macs": 0.5}}
    spec = RunSpec("distill", model="timm:resnet18", data="digits", options=options).anchored(tmp_path)
    assert spec.options == options | {
        "teacher": f"{tmp_path}/net.py:Other",
        "teacher_weights": f"{tmp_path}/t.safetensors",
    }
    same = RunSpec("distill", options={"teacher": "timm:vit_tiny"})
    assert same.anchored(tmp_path) == same
