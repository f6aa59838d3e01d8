"""Answers of two models against torchmetrics, a slow loop, and simulated experiments."""

from __future__ import annotations

from pathlib import Path

import cpd._torchvision  # noqa: F401  before torchmetrics, which imports torchvision

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex

from cpd.errors import StorageError
from cpd.measure.answering import answers
from cpd.measure.answers import Answers, paired_difference, wilson

IGNORE = 255


class Fixed(nn.Module):
    """Gives scores that were drawn beforehand, in order."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores, self.at = scores, 0

    def forward(self, x: Tensor) -> Tensor:
        self.at = (self.at + len(x)) if self.at < len(self.scores) else len(x)
        return self.scores[self.at - len(x) : self.at]


class Items:
    """Just enough of a task: images of noise in batches of 7."""

    def __init__(self, targets: Tensor, classes: int, metric: str) -> None:
        self.targets, self.classes, self.metric_name = targets, tuple("abcdefgh"[:classes]), metric
        self.val_images = len(targets)

    def val_batches(self, _: int):
        for i in range(0, len(self.targets), 7):
            yield torch.rand(len(self.targets[i : i + 7]), 1, 8, 8), self.targets[i : i + 7]

    def predict(self, module: nn.Module, images: Tensor) -> Tensor:
        return module(images)

    def check(self, outputs: Tensor) -> None:
        assert outputs.shape[1] == len(self.classes)


def images() -> tuple[Answers, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    targets, first, second = torch.randint(0, 4, (50,)), torch.randn(50, 4), torch.randn(50, 4)
    return answers(Fixed(first), Fixed(second), Items(targets, 4, "top1"), None), targets, first, second


def pixels() -> tuple[Answers, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (20, 8, 8))
    targets[torch.rand(20, 8, 8) < 0.2] = IGNORE
    first, second = (
        torch.randn(20, 4, 8, 8),
        torch.randn(20, 4, 8, 8),
    )  # the fourth class never occurs, but is predicted
    return answers(Fixed(first), Fixed(second), Items(targets, 4, "miou"), None), targets, first, second


def test_accuracy_and_flips_by_hand() -> None:
    found, targets, first, second = images()
    assert found.quality("dense") == pytest.approx((first.argmax(1) == targets).float().mean().item())
    flips = [int(a.argmax() != b.argmax()) for a, b in zip(first, second, strict=True)]
    assert found.flipped.tolist() == flips
    assert found.difference().value == pytest.approx(found.quality("pruned") - found.quality("dense"))
    assert set(found.shown.tolist()) <= set(np.flatnonzero(flips).tolist())
    table = found.confusion("pruned")
    assert table.sum() == 50
    assert table[int(targets[0]), int(second[0].argmax())] >= 1
    before, after = found.confusion("dense"), found.confusion("pruned")
    for name, taken, was, now in found.new_confusions():
        i, j = "abcd".index(name), "abcd".index(taken)
        assert (was, now) == (before[i, j], after[i, j])
        assert now > was
        assert i != j


def test_mean_iou_is_torchmetrics_and_per_class_sums_are_a_slow_loops() -> None:
    found, targets, first, second = pixels()
    for name, scores in (("dense", first), ("pruned", second)):
        metric = MulticlassJaccardIndex(num_classes=4, ignore_index=IGNORE, average="none")
        metric.update(scores, targets)
        np.testing.assert_allclose(found.per_class(name), metric.compute().numpy(), rtol=1e-6)
        mean = MulticlassJaccardIndex(num_classes=4, ignore_index=IGNORE)
        mean.update(scores, targets)
        assert found.quality(name) == pytest.approx(float(mean.compute()), rel=1e-6)
    guess = second.argmax(1)
    for n in (0, 13):
        for c in range(4):
            counted = targets[n] != IGNORE
            assert found.pruned.taken[n, c] == int(((guess[n] == c) & counted).sum())  # type: ignore[union-attr]
            assert found.pruned.both[n, c] == int(((guess[n] == c) & (targets[n] == c)).sum())  # type: ignore[union-attr]
    differ = ((first.argmax(1) != guess) & (targets != IGNORE)).flatten(1).sum(1) / (targets != IGNORE).flatten(1).sum(
        1
    )
    np.testing.assert_allclose(found.flipped, differ.numpy(), rtol=1e-6)


@pytest.mark.parametrize("make", [images, pixels])
def test_it_reads_back_what_it_wrote(make, tmp_path: Path) -> None:
    found = make()[0]
    found.save(tmp_path / "answers.npz")
    again = Answers.load(tmp_path / "answers.npz")
    assert again.classes == found.classes
    assert again.difference().low == found.difference().low
    assert np.array_equal(again.pictures, found.pictures)
    (tmp_path / "answers.npz").write_bytes((tmp_path / "answers.npz").read_bytes()[:200])
    with pytest.raises(StorageError, match="cannot read the answers"):
        Answers.load(tmp_path / "answers.npz")


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Draw experiments with a known true difference; 95 % intervals must hold it in 93 to 98.5 % of them."""
    random = np.random.default_rng(1)
    lose, win, n = 0.04, 0.02, 300
    held = 0
    for _ in range(2000):
        lost, won, _ = random.multinomial(n, [lose, win, 1 - lose - win])
        found = paired_difference(int(lost), int(won), n)
        held += found.low <= win - lose <= found.high
    assert 0.93 <= held / 2000 <= 0.985
    held = 0
    for k in random.binomial(200, 0.95, 2000):
        low, high = wilson(k / 200, 200)
        held += low <= 0.95 <= high
    assert 0.93 <= held / 2000 <= 0.985


def test_the_bootstrap_holds_a_difference_that_is_there_and_not_one_that_is_not() -> None:
    torch.manual_seed(3)
    targets = torch.randint(0, 3, (60, 8, 8))
    right = torch.nn.functional.one_hot(targets, 3).permute(0, 3, 1, 2).float()
    good, same, worse = (right + s * torch.randn(60, 3, 8, 8) for s in (0.5, 0.5, 0.9))
    task = Items(targets, 3, "miou")
    assert not answers(Fixed(good), Fixed(same), task).difference().is_clear
    found = answers(Fixed(good), Fixed(worse), task).difference()
    assert found.is_clear
    assert found.high < 0
