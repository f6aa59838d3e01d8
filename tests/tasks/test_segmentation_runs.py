"""The whole way for segmentation, by command and by job: train, score, prune while distilling, measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpd.cli import main
from cpd.measure.measurement import Measurement
from cpd.runs.store import Store

MODEL = ["smp:Unet/tu-test_resnet", "--set", "num_classes=11", "--set", "img_size=32", "--set", "encoder_depth=3", "--set", "decoder_channels=[16,16,8]"]
QUICK = ["--data", "digit-scenes", "--batch-size", "16", "--evaluate-every", "100"]


def call(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpd.tasks.segmentation.digit_scenes.TRAIN", 64)
    monkeypatch.setattr("cpd.tasks.segmentation.digit_scenes.HELD_OUT", 20)


def test_train_score_run_and_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", *MODEL, *QUICK, "--steps", 8, "--lr", 0.01, "--out", tmp_path / "dense") == 0
    assert "mIoU" in capsys.readouterr().out
    weights = tmp_path / "dense" / "bundle" / "model.safetensors"
    assert call("score", *MODEL, "--weights", weights, "--data", "digit-scenes", "--criterion", "taylor", "--batches", 1, "--json", "-") == 0
    capsys.readouterr()
    mix = ["--loss", "task=1", "--loss", "soft_logits=1", "--loss", "channel_wise=0.5", "--loss", "attention_transfer=0.5"]
    assert call("run", *MODEL, "--weights", weights, "--target", "macs=0.5", *QUICK, "--steps", 6, *mix, "--out", tmp_path / "small") == 0
    table = capsys.readouterr().out
    assert "mIoU" in table
    assert "IoU ground" in table
    result = json.loads((tmp_path / "small" / "result.json").read_text())
    dense, pruned = (Measurement.from_dict(result[name]) for name in ("dense", "pruned"))
    assert pruned.macs <= 0.5 * dense.macs
    assert (pruned.metric, pruned.images) == ("miou", 20)
    assert pruned.classes is not None
    assert pruned.quality == pytest.approx(sum(pruned.classes.values()) / len(pruned.classes), abs=1e-6)
    log = Store(tmp_path / "small" / "runs.db")
    (run,) = log.list_runs()
    recorded = log.metrics(run.id)
    assert {"val/miou", "teacher/miou", "train/loss/channel_wise", "train/loss/attention_transfer"} <= set(recorded)
    assert recorded["val/miou"].values[-1] == pytest.approx(pruned.quality, abs=1e-6)
    file = tmp_path / "small" / result["bundle"]
    assert call("measure", MODEL[0], *MODEL[1:], "--weights", file, "--data", "digit-scenes", "--seconds", "0.02", "--json", "-") == 0
    again = Measurement.from_dict(json.loads(capsys.readouterr().out))
    assert (again.quality, again.classes) == (pruned.quality, pruned.classes)


def test_a_classifier_is_told_that_the_data_wants_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("measure", "timm:test_resnet", "--set", "img_size=32", "--data", "digit-scenes", "--seconds", "0.02") == 2
    assert "no scores a pixel" in capsys.readouterr().err
