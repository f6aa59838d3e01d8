"""Masks stay with their images, the metric is counted by hand, and large images are judged whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs
from sklearn.datasets import load_digits
from torch import Tensor, nn

import cpd
from cpd.errors import DataError
from cpd.measure.accuracy import accuracy, quality
from cpd.tasks import load_task
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.classification.split import stratified
from cpd.tasks.order import DRAWS, generator
from cpd.tasks.segmentation.digit_scenes import CLASSES, digit_scenes, paint
from cpd.tasks.segmentation.moves import IGNORE, Moves, moved
from cpd.tasks.segmentation.scenes import FileScenes, MemoryScenes
from cpd.tasks.segmentation.task import SegmentationTask, alike
from cpd.tasks.segmentation.windows import starts, whole_image

PLAIN = Normalisation((0.0,) * 3, (1 / 255,) * 3)  # pixels come through as they are
TASK = digit_scenes((3, 48, 48), train=40, held_out=20)


def scenes(count: int, size: tuple[int, int], seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Images whose every channel tells the class of the pixel: 20 times its number."""
    dice = torch.Generator().manual_seed(seed)
    masks = [torch.randint(0, 5, size, generator=dice, dtype=torch.uint8) for _ in range(count)]
    return [(mask * 20).expand(3, -1, -1).contiguous() for mask in masks], masks


# The scenes that are built in --------------------------------------------------------------------------------------------


def test_scenes_are_the_same_every_time_and_hold_every_class() -> None:
    again = digit_scenes((3, 48, 48), train=40, held_out=20)
    pairs = zip(TASK.val_batches(7), again.val_batches(7), strict=True)
    assert all(torch.equal(x, x2) and torch.equal(y, y2) for (x, y), (x2, y2) in pairs)
    masks = torch.cat([y for _, y in TASK.val_batches(20)])
    assert masks.shape == (20, 48, 48)
    assert set(masks.unique().tolist()) <= set(range(11))
    assert all(((mask > 0).float().mean() > 0.02) for mask in masks)  # never an empty one
    assert CLASSES == ("ground", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9") == TASK.classes


def test_a_mask_lies_where_the_digit_of_that_class_is() -> None:
    """On a flat ground, painted with one known digit: what differs from the ground is the mask."""
    source = load_digits()
    for label in (0, 1, 8):
        digit = torch.from_numpy(source.images[source.target == label][:1]).float().unsqueeze(1) / 16
        images, masks = paint(digit, torch.tensor([label]), 30, (3, 64, 64), generator(1, label))
        assert set(masks.unique().tolist()) == {0, label + 1}
        if label == 0:  # a zero has a hole, and the hole is ground
            holes = [(m[r] > 0).int().diff().clamp_min(0).sum() >= 2 for m in masks for r in range(64)]
            assert any(holes)
        for image, mask in zip(images, masks, strict=True):
            inside, outside = image[:, mask > 0].float(), image[:, mask == 0].float()
            assert (inside.mean(1) - outside.mean(1)).abs().max() > 25  # colours stand out


def test_digits_that_are_held_out_are_never_trained_on() -> None:
    """The scenes' two halves use the two halves of the digits' own split, which share no image."""
    source = load_digits()
    train, held = stratified(torch.from_numpy(source.target).long(), 0.25)
    assert not set(train.tolist()) & set(held.tolist())
    seen: list[Tensor] = []
    from cpd.tasks.segmentation import digit_scenes as home

    original = home.paint
    try:
        home.paint = lambda ink, *rest: seen.append(ink) or original(ink, *rest)  # type: ignore[assignment,func-returns-value]
        digit_scenes((1, 32, 32), train=3, held_out=2)
    finally:
        home.paint = original
    ink = torch.from_numpy(source.images).float().unsqueeze(1) / 16
    assert torch.equal(seen[0], ink[train])
    assert torch.equal(seen[1], ink[held])


def test_scenes_too_small_to_read_are_refused() -> None:
    with pytest.raises(DataError, match="img_size=64"):
        load_task("digit-scenes", (3, 16, 16))


@settings(max_examples=10, deadline=None)
@given(seed=hs.integers(0, 2**40), epoch=hs.integers(0, 10**6), start=hs.integers(0, 4), size=hs.sampled_from([8, 13]))
def test_a_resumed_epoch_sees_what_it_would_have_seen(seed: int, epoch: int, start: int, size: int) -> None:
    whole = list(TASK.train_batches(size, seed, epoch))
    rest = list(TASK.train_batches(size, seed, epoch, start))
    assert len(whole) == TASK.steps(size)
    assert len(rest) == max(0, len(whole) - start)
    assert all(torch.equal(x, x2) and torch.equal(y, y2) for (x, y), (x2, y2) in zip(whole[start:], rest, strict=True))


# Joint transforms ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    draw=hs.lists(hs.floats(0, 1), min_size=8, max_size=8),
    height=hs.integers(12, 60),
    width=hs.integers(12, 60),
    turn=hs.sampled_from([0.0, 30.0]),
)
def test_image_and_mask_move_together(draw: list[float], height: int, width: int, turn: float) -> None:
    """The picture's quarters are of one class and colour each: almost everywhere the colour tells the class."""
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[height // 2 :] += 1
    mask[:, width // 2 :] += 2
    image = (mask * 60).expand(3, -1, -1).contiguous()
    x, y = moved(image, mask, (24, 24), Moves(turn=turn, light=0.0), draw)
    assert x.shape == (3, 24, 24)
    assert y.shape == (24, 24)
    assert set(y.unique().tolist()) <= {0, 1, 2, 3, IGNORE}
    counts = y != IGNORE
    told = (x[0].float() / 60).round() == y
    assert float(told[counts].float().mean()) > 0.8  # colours mix along the borders of the quarters
    mirrored, _ = moved(image, mask, (24, 24), Moves(turn=turn, light=0.0), [*draw[:4], 1 - draw[4], *draw[5:]])
    if draw[4] != 0.5:
        assert torch.equal(mirrored, x.flip(2))


def test_without_a_draw_a_picture_of_the_right_size_stays_as_it_is() -> None:
    (image,), (mask,) = scenes(1, (24, 24))
    x, y = moved(image, mask, (24, 24), Moves(), None)
    assert torch.equal(x, image)
    assert torch.equal(y, mask)


def test_a_mirrored_picture_is_the_mirror_of_both() -> None:
    (image,), (mask,) = scenes(1, (24, 24))
    x, y = moved(image, mask, (24, 24), Moves(scale=(1, 1), light=0), [0.5] * 4 + [0.0] + [0.5] * 3)
    assert torch.equal(x, image.flip(2))
    assert torch.equal(y, mask.flip(1))


def test_corners_that_a_turn_uncovers_do_not_count() -> None:
    (image,), (mask,) = scenes(1, (24, 24))
    _, y = moved(image, mask, (24, 24), Moves(scale=(1, 1), turn=20, flip=False, light=0), [0.5] * 3 + [1.0] + [0.5] * 4)
    assert int(y[0, 0]) == int(y[-1, -1]) == IGNORE
    assert 0.02 < float((y == IGNORE).float().mean()) < 0.3


def test_files_and_memory_give_the_same_batches() -> None:
    images, masks = scenes(6, (30, 40))
    memory = MemoryScenes(images, masks, (16, 16), PLAIN, Moves())
    files = FileScenes(lambda i: (images[i], masks[i]), memory.sizes, (16, 16), PLAIN, Moves())
    order = [torch.tensor([4, 1]), torch.tensor([0, 5]), torch.tensor([3])]
    for whole in (False, True):
        draws = [torch.rand(len(numbers), DRAWS, generator=generator(i)) for i, numbers in enumerate(order)]
        pairs = [s.ahead(order, draws, whole) for s in (memory, files)]
        for (x, y), (x2, y2) in zip(*pairs, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


# Judging ---------------------------------------------------------------------------------------------------------------


class Reads(nn.Module):
    """Reads the class off the colour; is wrong about class 4, which it takes for 3."""

    def forward(self, x: Tensor) -> Tensor:
        found = (x[:, 0] / 20).round().long().clamp(0, 3)
        return nn.functional.one_hot(found, 5).permute(0, 3, 1, 2).float()


def task_of(images: list[Tensor], masks: list[Tensor], size: tuple[int, int]) -> SegmentationTask:
    made = MemoryScenes(images, masks, size, PLAIN, Moves())
    return SegmentationTask("made", ("a", "b", "c", "d", "e"), (3, *size), train=made, val=made)


def test_the_metric_is_the_mean_over_classes_of_the_iou_of_all_pixels() -> None:
    images, masks = scenes(5, (20, 20))
    masks[2][:, :3] = IGNORE
    found = quality(Reads(), task_of(images, masks, (20, 20)), batch_size=2)
    truth = torch.stack(masks).flatten().long()
    guess = (torch.stack(images)[:, 0].flatten().float() / 20).round().long().clamp(0, 3)
    counts = truth != IGNORE
    by_hand = {}
    for number, name in enumerate("abcde"):
        t, g = (truth == number) & counts, (guess == number) & counts
        by_hand[name] = int((t & g).sum()) / int((t | g).sum())
    assert found.classes == pytest.approx(by_hand)
    assert found.value == pytest.approx(np.mean(list(by_hand.values())))
    assert by_hand["e"] == 0
    assert 0.4 < by_hand["d"] < 0.6


def test_a_class_that_does_not_occur_is_left_out() -> None:
    images, masks = scenes(2, (20, 20))
    for image, mask in zip(images, masks, strict=True):
        image[:, mask == 4], mask[mask == 4] = 0, 0
    found = quality(Reads(), task_of(images, masks, (20, 20)))
    assert found.value == 1
    assert found.classes == dict.fromkeys("abcd", 1.0)


def test_large_images_of_all_sizes_are_judged_whole() -> None:
    """Every pixel's answer depends on that pixel alone, so windows must not change it."""
    images, masks = [], []
    for number, size in enumerate([(20, 20), (20, 20), (33, 47), (33, 47), (20, 64)]):
        x, y = scenes(1, size, number)
        images += x
        masks += y
    task = task_of(images, masks, (20, 20))
    assert task.val_images == 5
    assert [tuple(x.shape) for x, _ in task.val_batches(2)] == [(2, 3, 20, 20), (1, 3, 33, 47), (1, 3, 33, 47), (1, 3, 20, 64)]
    windowed = accuracy(Reads(), task)
    whole = task.metric()
    for x, y in task.val_batches(1):
        whole.update(Reads()(x), y)
    assert windowed == pytest.approx(float(whole.compute()))


def test_overlapping_windows_are_averaged() -> None:
    """A model that answers with the mean of its window: in a row of windows each pixel has the mean of those over it."""

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (4, 6)
            return x.mean((1, 2, 3), keepdim=True).expand(-1, 2, 4, 6)

    x = torch.rand(2, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    at = starts(16, 6)
    assert at == [0, 3, 7, 10]
    assert all(b - a <= 4 for a, b in zip(at, at[1:], strict=False))
    expected = [torch.stack([x[..., s : s + 6].mean((1, 2, 3)) for s in at if s <= column < s + 6]).mean(0) for column in range(16)]
    torch.testing.assert_close(whole_image(Mean(), x, (4, 6))[:, 0, 0], torch.stack(expected, 1))


@given(length=hs.integers(1, 400), window=hs.integers(1, 100))
def test_windows_cover_everything_and_overlap_by_a_third(length: int, window: int) -> None:
    at = starts(length, window)
    covered = {p for s in at for p in range(s, s + window)}
    assert set(range(length)) <= covered
    if length >= window:
        assert max(at) + window == length
        assert all(b - a <= max(1, round(window * 2 / 3)) for a, b in zip(at, at[1:], strict=False))


def test_images_smaller_than_the_model_are_enlarged_and_scores_brought_back() -> None:
    images, masks = scenes(1, (10, 14))
    shapes = []

    def see(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape[2:]))
        return x

    module = nn.Sequential(nn.Identity())
    module.register_forward_pre_hook(lambda _, x: see(x[0]))
    out = whole_image(module, images[0][None].float(), (20, 20))
    assert out.shape == (1, 3, 10, 14)
    assert set(shapes) == {(20, 20)}


def test_scores_at_a_coarser_size_are_brought_to_the_masks() -> None:
    task = task_of(*scenes(4, (16, 16)), (16, 16))
    x, y = next(task.train_batches(4, augment=False))
    coarse = torch.randn(4, 5, 4, 4)
    fine = nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)
    assert task.loss(coarse, y).item() == pytest.approx(nn.functional.cross_entropy(fine, y).item(), rel=1e-5)


def test_ignored_pixels_do_not_count_for_the_loss() -> None:
    task = task_of(*scenes(4, (16, 16)), (16, 16))
    y = torch.randint(0, 5, (2, 16, 16))
    scores = torch.randn(2, 5, 16, 16, requires_grad=True)
    part = y.clone()
    part[:, :8] = IGNORE
    expected = nn.functional.cross_entropy(scores[:, :, 8:], y[:, 8:])
    assert task.loss(scores, part).item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = task.loss(scores, torch.full_like(y, IGNORE))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


@given(sizes=hs.lists(hs.sampled_from([(4, 4), (8, 8), (16, 4)]), min_size=1, max_size=30), batch=hs.integers(1, 9))
def test_every_scene_is_in_one_batch_of_its_own_size(sizes: list[tuple[int, int]], batch: int) -> None:
    groups = alike(sizes, batch, 16)
    assert [i for group in groups for i in group.tolist()] == list(range(len(sizes)))
    for group in groups:
        assert len({sizes[i] for i in group.tolist()}) == 1
        height, width = sizes[group[0]]
        assert len(group) == 1 or len(group) * height * width <= batch * 16


def test_a_model_that_does_not_answer_for_pixels_is_told_so() -> None:
    for model, says in ((nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 11)), "no scores a pixel"), (nn.Conv2d(3, 7, 1), "7 scores a pixel")):
        with pytest.raises(DataError, match=f"11 classes and the model gives {says}.*num_classes=11"):
            accuracy(model, TASK)


def test_scores_of_importance_come_from_the_tasks_own_loss() -> None:
    """With pixels that do not count, which plain cross entropy would stumble over."""
    model, inputs = cpd.load_model("smp:Unet/tu-test_resnet", settings={"num_classes": 5, "img_size": 32, "decoder_channels": [8, 8, 8, 8, 8]})
    images, masks = scenes(4, (32, 32))
    for mask in masks:
        mask[:5] = IGNORE
    task = task_of(images, masks, (32, 32))
    record = cpd.comb(model, inputs).record
    table = cpd.score(model, record, task.train_batches(2, augment=False), ["taylor"], 2, loss=task.loss)["taylor"]
    assert all(np.isfinite(values).all() and (np.asarray(values) >= 0).all() for values in table.groups.values())
