"""Numbers by hand, by another counter, or by a clock that is known."""

from __future__ import annotations

import json
import time

import pytest
import torch
from torch import nn

import cpd
from cpd.errors import DataError, DeviceError, StorageError
from cpd.measure import Latency, Measurement, measure, measure_all
from cpd.measure.accuracy import accuracy
from cpd.measure.latency import batch_of, evaluating, latencies
from cpd.measure.machine import pick_device
from cpd.measure.macs import counted_macs, planned_macs
from cpd.tasks import load_task


class Sleeper(nn.Module):
    """Takes `ms` a pass, and remembers how it was called."""

    def __init__(self, ms: float, calls: list[tuple[float, int, bool]]) -> None:
        super().__init__()
        self.ms, self.calls = ms, calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((self.ms, len(x), self.training or torch.is_grad_enabled()))
        time.sleep(self.ms / 1e3)
        return x


def test_latency_is_the_time_it_takes_and_models_take_turns() -> None:
    calls: list[tuple[float, int, bool]] = []
    slow, fast = Sleeper(6, calls), Sleeper(3, calls)
    found = latencies({"slow": slow, "fast": fast}, (torch.zeros(2, 3),), 32, seconds=0.15)
    assert 6 <= found["slow"].median_ms < 30
    assert 3 <= found["fast"].median_ms < found["slow"].median_ms
    for row in found.values():
        assert row.p10_ms <= row.median_ms <= row.p90_ms
        assert row.runs >= 5
        assert row.batch == 32
    timed = [ms for ms, _, _ in calls[6:]]  # after three passes each to warm up
    assert timed[:4] == [6, 3, 3, 6]
    assert timed.count(6) == timed.count(3) == found["slow"].runs
    assert {n for _, n, _ in calls} == {32}
    assert not any(grad for _, _, grad in calls)
    assert slow.training
    assert fast.training


def test_slow_models_get_five_passes_and_no_more_than_the_time() -> None:
    calls: list[tuple[float, int, bool]] = []
    start = time.perf_counter()
    found = latencies({"": Sleeper(30, calls)}, (torch.zeros(2, 3),), 1, seconds=0.01)
    assert found[""].runs == 5
    assert time.perf_counter() - start < 0.6


def test_a_batch_repeats_the_first_sample() -> None:
    x, y = batch_of((torch.arange(6.0).view(2, 3), torch.tensor([4, 5])), 5, torch.device("cpu"))
    assert x.tolist() == [[0, 1, 2]] * 5
    assert y.tolist() == [4] * 5


def test_modes_are_put_back_one_by_one() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    net[1].eval()
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [net.training, net[0].training, net[1].training] == [True, True, False]


def test_macs_by_hand() -> None:
    conv = nn.Conv2d(3, 16, 3, padding=1)
    assert counted_macs(conv, (torch.zeros(2, 3, 32, 32),)) == 16 * 3 * 3 * 3 * 32 * 32
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, groups=1), nn.Flatten(), nn.Linear(8 * 7 * 7, 10))
    assert counted_macs(net, (torch.zeros(4, 3, 15, 15),)) == 8 * 3 * 9 * 49 + 8 * 49 * 10


def test_the_combs_arithmetic_agrees_with_torchs_counter_dense_and_cut() -> None:
    model, inputs = cpd.load_model("timm:test_resnet", settings={"num_classes": 10, "img_size": 64})
    comb = cpd.comb(model, inputs)
    plan = cpd.uniform_plan(comb, ratio=0.5)
    pruned = cpd.prune(model, comb, plan)
    assert planned_macs(comb.record, {}) == counted_macs(model, inputs)
    assert planned_macs(comb.record, plan.keep) == counted_macs(pruned, inputs)


class Lookup(nn.Module):
    """Right on every image but one in five."""

    def __init__(self, task: object) -> None:
        super().__init__()
        labels = torch.cat([y for _, y in task.val_batches(64)])  # type: ignore[attr-defined]
        self.answers = torch.where(torch.arange(len(labels)) % 5 == 0, (labels + 1) % 10, labels)
        self.at = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.answers[self.at : self.at + len(x)]
        self.at += len(x)
        return torch.eye(10)[part]


def test_accuracy_is_the_share_of_right_answers_on_all_held_out_images() -> None:
    task = load_task("digits", (1, 8, 8))
    wrong = len(range(0, task.val_images, 5))
    assert accuracy(Lookup(task), task, batch_size=100) == pytest.approx(1 - wrong / task.val_images)


def test_a_model_of_other_classes_is_told_so() -> None:
    task = load_task("digits", (1, 8, 8))
    with pytest.raises(DataError, match=r"10 classes and the model gives 7 scores.*num_classes=10"):
        accuracy(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), task)


def test_everything_together_and_through_json() -> None:
    model, inputs = cpd.load_model("timm:test_resnet", settings={"num_classes": 10, "in_chans": 1, "img_size": 32})
    small = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))
    steps: list[tuple[int, int]] = []
    task = load_task("digits", inputs)
    both = measure_all({"big": model, "small": small}, inputs, task, seconds=0.05, progress=lambda i, n: steps.append((i, n)))
    assert both["small"].parameters == 32 * 32 * 10 + 10
    assert both["small"].macs == 32 * 32 * 10
    assert both["big"].parameters == sum(p.numel() for p in model.parameters())
    assert both["big"].images == task.val_images
    assert 0 <= (both["big"].quality or 0) < 0.4  # untrained
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [row.batch for row in both["big"].latency] == [1, 32]
    again = Measurement.from_dict(json.loads(json.dumps(both["big"].to_dict())))
    assert again == both["big"]
    assert again.at(32) == both["big"].latency[1]
    assert again.at(7) is None
    assert measure(small, inputs, seconds=0.05).quality is None


def test_files_that_call_the_metric_top1_still_read() -> None:
    row = {"parameters": 3, "macs": 2.0, "latency": [], "device": "cpu", "machine": "", "torch": "2"}
    assert Measurement.from_dict(row | {"top1": 0.5, "top1_images": 9}) == Measurement(3, 2.0, "top1", 0.5, 9, (), "cpu", "", "2")
    assert Measurement.from_dict(row | {"top1": None, "top1_images": 0}).quality is None
    new = Measurement(3, 2.0, "miou", 0.5, 9, (), "cpu", "", "2", {"sky": 0.25})
    assert Measurement.from_dict(json.loads(json.dumps(new.to_dict() | {"later": 1}))) == new


def test_what_is_no_measurement_is_one_line() -> None:
    with pytest.raises(StorageError, match=r"baseline\.json"):
        Measurement.from_dict({"parameters": 3}, "baseline.json")
    with pytest.raises(StorageError):
        Measurement.from_dict({"latency": [{"batch": 1}]})
    assert Latency(1, 1.0, 1.0, 1.0, 5, 2).batch == 1


def test_devices_that_are_not_there() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("cuda:63", "gpu", "meta"):
        with pytest.raises(DeviceError, match=name):
            pick_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch without CUDA.*use cpu, or auto"):
            pick_device("cuda")
