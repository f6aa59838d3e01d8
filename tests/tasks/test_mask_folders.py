"""Folders of images and masks in every layout, and everything that can be wrong with them as one line."""

from __future__ import annotations

from pathlib import Path

import cpd._torchvision  # noqa: F401  before torchvision

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import VOCSegmentation

from cpd.errors import DataError
from cpd.tasks import load_task
from cpd.tasks.segmentation.task import SegmentationTask

RNG = np.random.default_rng(3)
SHAPE = (3, 16, 16)


def save(file: Path, pixels: np.ndarray, palette: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8))
    if palette:
        image.putpalette(list(RNG.integers(0, 256, 768)))
    image.save(file)


def picture(size: tuple[int, int] = (16, 16)) -> np.ndarray:
    return RNG.integers(0, 256, (*size, 3))


def numbers(*allowed: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    found = RNG.choice(allowed, size)
    found.flat[: len(allowed)] = allowed
    return found


def masks_of(task: SegmentationTask) -> torch.Tensor:
    return torch.cat([y for _, y in task.val_batches(1)])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for i in range(12):
        save(tmp_path / "images" / f"p{i}.jpg", picture())
        save(tmp_path / "masks" / f"p{i}.png", numbers(0, 1, 2, 255), palette=i % 2 == 0)
    return tmp_path


def test_plain_folders_hold_out_a_tenth(plain: Path) -> None:
    told: list[tuple[int, int]] = []
    task = load_task(f"masks:{plain}", SHAPE, "", lambda *step: told.append(step))
    assert isinstance(task, SegmentationTask)
    assert (task.train_images, task.val_images) == (10, 2)
    assert task.classes == ("class 0", "class 1", "class 2")
    assert (12, 12) in told
    x, y = next(task.train_batches(5, augment=False))
    assert x.shape == (5, 3, 16, 16)
    assert x.dtype == torch.float32
    assert set(y.unique().tolist()) == {0, 1, 2, 255}


def test_classes_have_the_names_that_are_listed(plain: Path) -> None:
    (plain / "classes.txt").write_text("road\nsky\n\ntree\nsea\n")
    assert load_task(f"masks:{plain}", SHAPE).classes == ("road", "sky", "tree", "sea")
    (plain / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(DataError, match=r"p\d+\.png: holds the number 2, and there are 2 classes"):
        load_task(f"masks:{plain}", SHAPE)


@pytest.mark.parametrize("layout", ["{kind}/{part}", "{part}/{kind}"])
def test_plain_folders_with_a_held_out_part(tmp_path: Path, layout: str) -> None:
    held = numbers(0, 1, size=(20, 30))
    for part, count, size in (("train", 4, (16, 16)), ("val", 1, (20, 30))):
        for i in range(count):
            save(tmp_path / layout.format(kind="images", part=part) / f"deep/{i}.png", picture(size))
            save(tmp_path / layout.format(kind="masks", part=part) / f"deep/{i}.png", held if part == "val" else numbers(0, 1))
    task = load_task(f"masks:{tmp_path}", SHAPE)
    assert (task.train_images, task.val_images) == (4, 1)
    assert torch.equal(masks_of(task)[0], torch.from_numpy(held))  # at its full size


def test_masks_in_black_and_white_are_two_classes(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "images" / f"{i}.png", picture())
        save(tmp_path / "masks" / f"{i}.png", numbers(0, 255))
    task = load_task(f"masks:{tmp_path}", SHAPE)
    assert task.classes == ("background", "foreground")
    assert set(masks_of(task).unique().tolist()) == {0, 1}


def test_ade20k_counts_from_one_and_ignores_zero(tmp_path: Path) -> None:
    held = numbers(0, 1, 3)
    for part in ("training", "validation"):
        save(tmp_path / "images" / part / "ADE_1.jpg", picture())
        save(tmp_path / "annotations" / part / "ADE_1.png", held)
    task = load_task(f"masks:{tmp_path}", SHAPE)
    assert task.classes == ("class 1", "class 2", "class 3")
    expected = {0: 255, 1: 0, 3: 2}
    assert torch.equal(masks_of(task)[0], torch.from_numpy(np.vectorize(expected.get)(held)))
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t.1\t9\t9\t1\twall\n2\t.1\t9\t9\t1\tbuilding, edifice\n3\t.1\t9\t9\t1\tsky\n")
    assert load_task(f"masks:{tmp_path}", SHAPE).classes == ("wall", "building", "sky")


@pytest.mark.parametrize("end", ["labelIds", "labelTrainIds"])
def test_cityscapes_by_either_kind_of_label(tmp_path: Path, end: str) -> None:
    by_id = {7: 0, 8: 1, 26: 13, 33: 18, 0: 255, 9: 255}  # road, sidewalk, car, bicycle, unlabeled, parking
    held = numbers(*by_id)
    train_ids = np.vectorize(by_id.get)(held)
    for part in ("train", "val"):
        save(tmp_path / "leftImg8bit" / part / "bonn" / "bonn_01_leftImg8bit.png", picture())
        save(tmp_path / "gtFine" / part / "bonn" / f"bonn_01_gtFine_{end}.png", held if end == "labelIds" else train_ids)
        save(tmp_path / "gtFine" / part / "bonn" / "bonn_01_gtFine_color.png", picture())
    task = load_task(f"masks:{tmp_path}", SHAPE)
    assert len(task.classes) == 19
    assert (task.classes[0], task.classes[13], task.classes[18]) == ("road", "car", "bicycle")
    assert torch.equal(masks_of(task)[0], torch.from_numpy(train_ids))


def test_voc_gives_what_torchvision_gives(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for part, names in (("train", ["a", "b"]), ("val", ["c"])):
        (home / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (home / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{n}\n" for n in names))
        for n in names:
            save(home / "JPEGImages" / f"{n}.jpg", picture((18, 24)))
            save(home / "SegmentationClass" / f"{n}.png", numbers(0, 15, 20, 255, size=(18, 24)), palette=True)
    task = load_task(f"voc:{tmp_path}", SHAPE)
    assert (task.train_images, task.val_images, len(task.classes)) == (2, 1, 21)
    _, theirs = VOCSegmentation(str(tmp_path), "2012", "val")[0]
    assert torch.equal(masks_of(task)[0], torch.from_numpy(np.array(theirs)).long())
    (home / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(DataError, match=r"VOC2012 is not all there \(.*c\.png"):
        load_task(f"voc:{tmp_path}", SHAPE)
    (home / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(DataError, match="not all there"):
        load_task(f"voc:{tmp_path}", SHAPE)


def test_a_set_too_large_for_memory_is_read_as_it_is_needed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_task(f"masks:{plain}", SHAPE)
    monkeypatch.setattr("cpd.tasks.segmentation.scenes.MEMORY_BYTES", 100)
    lazy = load_task(f"masks:{plain}", SHAPE)
    assert type(lazy.train) is not type(whole.train)  # type: ignore[attr-defined]
    for a, b in zip(whole.train_batches(4, 1, 2), lazy.train_batches(4, 1, 2), strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    (plain / "masks" / "p3.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"p3\.png: cannot be read as a mask"):
        [*lazy.train_batches(4), *lazy.val_batches(4)]


# Hostile and broken ------------------------------------------------------------------------------------------------------


def broken(root: Path, what: str) -> None:
    mask, image = root / "masks" / "p3.png", root / "images" / "p3.jpg"
    if what == "no mask":
        mask.unlink()
    elif what == "garbage":
        mask.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\xff" * 100)
    elif what == "cut short":
        mask.write_bytes(mask.read_bytes()[:60])
    elif what == "garbage image":
        image.write_bytes(b"GIF89a" + b"\0" * 10)
    elif what == "colours":
        save(mask, picture())
    elif what == "smaller":
        save(mask, numbers(0, 1, size=(8, 16)))
    elif what == "sixteen bit":
        Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(mask)
    elif what == "jpeg masks":
        for file in (root / "masks").iterdir():
            Image.open(file).convert("L").save(file.with_suffix(".jpg"))
            file.unlink()
    elif what == "bomb":
        bomb = Image.new("1", (20_000, 20_000))
        bomb.save(mask)
    elif what == "no images":
        for file in (root / "images").iterdir():
            file.unlink()
    elif what == "no folder":
        (root / "images").rename(root / "pictures")
    elif what == "one class":
        for file in (root / "masks").iterdir():
            save(file, numbers(0))
    elif what == "named twice":
        (root / "classes.txt").write_text("a\nb\na\n")
    elif what == "binary names":
        (root / "classes.txt").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "what, says",
    {
        "no mask": r"1 of 12 images have no mask; p3\.jpg needs .*masks/p3\.png",
        "garbage": r"p3\.png: cannot be read as a mask",
        "cut short": r"p3\.png: cannot be read as a mask",
        "garbage image": r"p3\.jpg: cannot be read as an image",
        "colours": r"p3\.png: is a picture \(RGB\), not a mask",
        "smaller": r"p3\.png: is 16x8 pixels and its image 16x16",
        "sixteen bit": "masks hold the number 4000; at most 255 classes",
        "jpeg masks": "a mask as JPEG has lost its class numbers",
        "bomb": r"p3\.png: cannot be read as a mask",
        "no images": "there are no images in",
        "no folder": r"no folder images/ beside masks/",
        "one class": "1 classes; from 2 to 255",
        "named twice": "names a class twice",
        "binary names": "cannot be read as text",
    }.items(),
)
def test_what_is_wrong_is_one_line(plain: Path, what: str, says: str) -> None:
    broken(plain, what)
    with pytest.raises(DataError, match=says) as caught:
        load_task(f"masks:{plain}", SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", ["masks", "masks:", "masks:/nowhere", "voc:/nowhere", "digit-scenes:x", "voc"])
def test_unknown_data_is_one_line(data: str) -> None:
    with pytest.raises(DataError) as caught:
        load_task(data, (3, 32, 32))
    assert "\n" not in str(caught.value)
