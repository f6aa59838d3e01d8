"""The line that does a run again, read back by the command line's own parser; and what is refused before it is queued."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from cpd import access
from cpd.access import Person, Role
from cpd.cli import main, training
from cpd.distill.settings import TrainSettings
from cpd.distill.weights import Weight
from cpd.errors import CpdError
from cpd.measure import abilities as asked
from cpd.measure.abilities import abilities
from cpd.runs import control
from cpd.runs.command_line import command_line
from cpd.runs.sound import check
from cpd.runs.spec import RunSpec

MOVES = {
    "soft_logits": {"from": 1.0, "to": 0.25, "begin": 0.1, "end": 0.5},
    "task": {"from": 0.0, "to": 1e-05},
    "hard_labels": 2.0,
}
EVERY = TrainSettings(
    epochs=3.5, steps=7, batch_size=48, accumulate=3, lr=1e-5, weight_decay=0.1, warmup=0.2, least_lr=0.3, clip=1.5, optimizer="sgd", scheduler="linear",
    average=0.9, augment=False, mixup=0.2, smoothing=0.1, losses=MOVES, temperature=2.5, cache_mb=8.0, schedule="few-step", interval=4, cut_share=0.25,
    chunks=5, criterion="l2", score_batches=3, multiple=4, minimum=2, max_ratio=0.75, corridor=0.02, take_over=False, corridor_images=64, evaluate_every=9, checkpoint_s=11.0,
    precision="bf16", processes=2, channels_last=True, seed=5,
)  # fmt: skip
SPEC = RunSpec("distill", model="timm:resnet18", data="digits", seed=5, settings={"num_classes": 10, "channels": [8, 16]}, weights="/there/my net.safetensors",
               options=EVERY.to_dict() | {"plan": None, "target": {"latency": 0.45}})  # fmt: skip


def read_back(line: str, monkeypatch) -> RunSpec:
    """The specification that the command line makes of it."""
    seen: list[RunSpec] = []

    def taken(folder, spec, watcher):
        seen.append(spec)
        raise CpdError("enough")

    monkeypatch.setattr(training, "run_foreground", taken)
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "cpd"]
    assert main(words[3:]) == 2
    return seen[0]


@pytest.mark.parametrize(
    "more", [{}, {"compile": True, "processes": 1}, {"target": {"latency_ms": 2.5}}, {"target": {"params": 0.1}}]
)
def test_the_line_means_the_run_it_was_made_of(more, monkeypatch):
    default = TrainSettings().to_dict()
    assert [
        n for n, v in EVERY.to_dict().items() if v == default[n] and n not in ("device", "compile")
    ] == []  # every setting is in it
    spec = replace(SPEC, options=SPEC.options | more)
    assert read_back(command_line(spec, plan=""), monkeypatch) == spec


def test_a_teacher_and_a_device_are_in_it_too_and_public_lines_name_no_folder(monkeypatch):
    teacher = {"teacher": "/nets/big.py:Net", "teacher_weights": "/nets/big.pt", "teacher_settings": {"depth": 3}}
    spec = replace(SPEC, device="auto", options=SPEC.options | teacher | {"device": "auto"})
    assert read_back(command_line(spec, plan=""), monkeypatch) == spec
    line = command_line(spec, public=True)
    assert "/nets" not in line
    assert "/there" not in line
    assert "--plan plan.json" in line
    assert "--target" not in line


@pytest.mark.parametrize("value", [0.5, {"from": 1.0, "to": 0.2}, {"from": 0.0, "to": 1.0, "begin": 0.25, "end": 0.5}])
def test_weights_of_losses_in_short(value):
    assert Weight.of("task", Weight.parse(Weight.of("task", value).short)) == Weight.of("task", value)


@pytest.mark.parametrize(
    "options, device, line",
    [
        ({"plan": None, "target": None}, "cpu", "either a plan or a target"),
        ({"target": {"latency": 1.5}}, "cpu", "target latency=1.5 is outside 0..1"),
        ({"target": {"latency_ms": 0}}, "cpu", "give milliseconds above 0"),
        ({"target": None, "plan": {"schema": 1}, "schedule": "reference", "losses": {"task": 1.0}}, "cpu", "not a plan"),
        ({"precision": "fp16"}, "cpu", "precision fp16 needs a GPU"),
        ({"processes": 5}, "cpu", "batch_size 48 cannot be worked through by 5 processes in 3 equal parts"),
        ({"compile": True}, "cpu", "compile works with one process"),
        ({"compile": True, "processes": 1, "losses": {"features": 1.0}}, "cpu", "compile does not work with losses that compare features"),
        ({"compile": True, "processes": 1}, "cpu", "it needs a C++ compiler (g++ or clang++)"),
        ({"teacher": "timm:resnet34", "losses": {"features": 1.0}}, "cpu", "another architecture has other features"),
        ({"teacher_weights": "/a.pt"}, "cpu", "no teacher"),
        ({}, "cuda:3", "this machine has"),
        ({"processes": 4}, "cuda", "take one GPU each, and this machine has 2"),
        ({"processes": 2}, "cuda:1", "several processes take one GPU each; use cuda or auto"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_it_is_queued(options, device, line, root, store, monkeypatch):
    monkeypatch.setattr(asked, "gpus", lambda: 2)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CpdError) as said:
        control.submit(root, replace(SPEC, device=device, options=SPEC.options | options))
    assert line in str(said.value)
    assert "\n" not in str(said.value)
    assert store.list_runs() == []
    (root / "cluster.json").write_text("{}")  # what this machine lacks says nothing about a cluster's
    if "this machine has" in line or "C++" in line:
        check(root, replace(SPEC, device=device, options=SPEC.options | options))


def test_what_the_machine_can_do_is_what_torch_says():
    import torch

    here = abilities("auto")
    assert here.torch == torch.__version__
    assert here.gpus in (None, torch.cuda.device_count())
    assert here.kind == ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def test_only_an_owner_names_a_teacher_that_is_a_file_of_this_machine(root, store, monkeypatch):
    monkeypatch.setattr("cpd.runs.supervisor.ensure", lambda *_: True)
    free = replace(
        SPEC, options=SPEC.options | {"processes": 1, "teacher": "timm:resnet34", "losses": {"soft_logits": 1.0}}
    )
    named = replace(free, options=free.options | {"teacher": "/nets/big.py:Net"})
    run = control.submit(root, named)
    access.ask_by(lambda: Person("ed", Role.EDITOR))
    try:
        assert control.submit(root, free)
        for change in ({"teacher": "/nets/big.py:Net"}, {"teacher_weights": "/etc/secrets"}):
            with pytest.raises(access.AccessError, match="ed may look on but not name files"):
                control.submit(root, replace(free, options=free.options | change))
            with pytest.raises(access.AccessError):
                control.clone(root, control.submit(root, free), change)
        again = control.clone(root, run, {"lr": 0.5})  # as the owner has left it
    finally:
        access.ask_by(None)
    assert store.run(again).spec.options["teacher"] == "/nets/big.py:Net"
