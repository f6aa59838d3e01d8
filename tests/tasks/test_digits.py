"""The built-in digits: real, split once and for all, the same batches at every resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs
from sklearn.datasets import load_digits

from cpd.errors import DataError
from cpd.tasks import load_task
from cpd.tasks.classification.augment import affine_grid, flip_and_shift
from cpd.tasks.classification.split import stratified

TASK = load_task("digits", (1, 32, 32))


def test_every_digit_is_either_trained_on_or_held_out() -> None:
    source = load_digits()
    assert TASK.train_images + TASK.val_images == len(source.images) == 1797
    assert TASK.val_images >= 360
    small = load_task("digits", (1, 8, 8))  # at their own size the images come through unchanged but for scale
    seen = torch.cat([x for x, _ in small.val_batches(50)] + [x for x, _ in small.train_batches(1, augment=False)])
    flat = seen.flatten(1).double().numpy()
    theirs = source.images.reshape(-1, 64)
    slope, offset = np.polyfit(np.sort(np.unique(theirs)), np.sort(np.unique(flat.round(5))), 1)
    back = np.rint((flat - offset) / slope)
    assert sorted(map(tuple, back)) == sorted(map(tuple, theirs))


def test_upsampling_is_the_bilinear_one() -> None:
    small, large = load_task("digits", (1, 8, 8)), load_task("digits", (3, 32, 24))
    (x, y), (big, labels) = next(small.val_batches(20)), next(large.val_batches(20))
    assert torch.equal(y, labels)
    assert big.shape == (20, 3, 32, 24)
    expected = torch.nn.functional.interpolate(x, size=(32, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(big, expected.expand(-1, 3, -1, -1))


def test_training_images_are_normalised_and_classes_stay_in_proportion() -> None:
    images = torch.cat([x for x, _ in load_task("digits", (1, 8, 8)).train_batches(1, augment=False)])
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3
    held = torch.cat([y for _, y in TASK.val_batches(100)]).bincount()
    whole = torch.from_numpy(load_digits().target).bincount()
    assert int((held - whole * 0.25).abs().max()) <= 1


@settings(max_examples=25, deadline=None)
@given(
    seed=hs.integers(0, 2**40),
    epoch=hs.integers(0, 10**6),
    start=hs.integers(0, 12),
    size=hs.sampled_from([64, 100, 256]),
)
def test_a_resumed_epoch_sees_what_it_would_have_seen(seed: int, epoch: int, start: int, size: int) -> None:
    whole = list(TASK.train_batches(size, seed, epoch))
    rest = list(TASK.train_batches(size, seed, epoch, start))
    assert len(whole) == TASK.steps(size)
    assert len(rest) == max(0, len(whole) - start)
    for (x, y), (x2, y2) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_epochs_differ() -> None:
    first, second = (next(TASK.train_batches(64, 0, epoch))[1] for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_augmentation_moves_images_a_little_and_never_the_held_out_ones() -> None:
    plain, changed = (next(TASK.train_batches(64, 1, 1, augment=a))[0] for a in (False, True))
    assert not torch.equal(plain, changed)
    correlation = torch.corrcoef(torch.stack([plain.flatten(), changed.flatten()]))[0, 1]
    assert 0.5 < correlation < 0.99
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(TASK.val_batches(64), TASK.val_batches(64), strict=True))


def test_without_turn_shift_and_zoom_the_grid_is_the_identity() -> None:
    x = torch.rand(3, 1, 7, 5)
    grid = affine_grid(torch.rand(3, 8), 7, 5, degrees=0, shift=0, zoom=0)
    torch.testing.assert_close(torch.nn.functional.grid_sample(x, grid, align_corners=False), x)


def test_a_shifted_photo_is_a_window_of_the_reflected_one() -> None:
    x = torch.arange(2 * 3 * 16 * 16.0).view(2, 3, 16, 16)
    moved = flip_and_shift(x, torch.tensor([[0.2, 0.9999999, 0.0], [0.7, 0.3, 0.6]]))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
    windows = [padded[:, :, t : t + 16, left : left + 16] for t in range(5) for left in range(5)]
    mirrored = torch.nn.functional.pad(x.flip(3), (2, 2, 2, 2), mode="reflect")
    windows += [mirrored[:, :, t : t + 16, left : left + 16] for t in range(5) for left in range(5)]
    for i in range(2):
        assert any(torch.equal(moved[i], w[i]) for w in windows)
    assert torch.equal(moved[0], windows[25 + 4 * 5][0])  # mirrored, as far down and as far left as it goes
    assert torch.equal(moved[1], windows[1 * 5 + 3][1])


@given(labels=hs.lists(hs.integers(0, 4), min_size=1, max_size=60), share=hs.floats(0.01, 0.9), seed=hs.integers(0, 99))
def test_a_split_divides_every_class_and_loses_nothing(labels: list[int], share: float, seed: int) -> None:
    given_labels = torch.tensor(labels)
    train, held = stratified(given_labels, share, seed)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(labels)))
    for label in set(labels):
        count, out = labels.count(label), int((given_labels[held] == label).sum())
        assert out == min(int(np.ceil(count * share)), count - 1)


def test_the_metric_is_the_share_that_is_right() -> None:
    metric = TASK.metric()
    metric.update(torch.eye(10)[[0, 1, 2, 3]], torch.tensor([0, 1, 2, 9]))
    metric.update(torch.eye(10)[[5]], torch.tensor([5]))
    assert float(metric.compute()) == pytest.approx(4 / 5)


@pytest.mark.parametrize("data", ["digit", "", "imagefolder", "imagefolder:/nowhere", "parquet:/nowhere"])
def test_unknown_data_is_one_line(data: str) -> None:
    with pytest.raises(DataError) as caught:
        load_task(data, (3, 32, 32))
    assert "\n" not in str(caught.value)


def test_a_model_that_takes_no_images_is_told_so() -> None:
    with pytest.raises(DataError, match="not batches of images"):
        load_task("digits", (torch.zeros(2, 5),))
