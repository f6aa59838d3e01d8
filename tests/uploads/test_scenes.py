"""Sets to segment as archives: what is unpacked is what the same files in a folder are, image for image and mask for mask."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import hostile_archives as zips
import numpy as np
import pytest
from PIL import Image

from cpd.errors import DataError
from cpd.tasks.segmentation.layouts import Folder, kind_of, mask_layout, voc_layout
from cpd.uploads.archive import contents
from cpd.uploads.receive import receive_data
from cpd.uploads.scenes import Contents

LAYOUTS: dict[str, tuple[Callable[[], dict[str, bytes]], int]] = {
    "ADE20K": (zips.ade20k, 0),
    "Cityscapes": (zips.cityscapes, 6),
    "VOC": (zips.voc, 2),
}


@pytest.fixture(autouse=True)
def _forked(warm, monkeypatch):
    monkeypatch.setattr("cpd.uploads.receive.ask", warm)


def laid_out(members: dict[str, bytes], folder: Path) -> Path:
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def scenes_of(data: str) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Images and masks of both sets, by the task that a run would train on."""
    from cpd.tasks import load_task

    task = load_task(data, (3, 6, 6))
    return [[(x.numpy(), y.numpy()) for x, y in part.ahead([np.array([n]) for n in range(len(part.sizes))], [None] * len(part.sizes), whole=True)]  # type: ignore[attr-defined]
            for part in (task.train, task.val)] + [[(np.array(task.classes), np.array(0))]]  # type: ignore[attr-defined]  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
def test_an_archive_is_read_as_the_folder_it_was_made_of(kind, project, tmp_path):
    make, left_out = LAYOUTS[kind]
    folder = laid_out(make(), tmp_path / "folder")
    taken = receive_data("d.zip", io.BytesIO(zips.zipped(make())), project)
    source = "voc" if kind == "VOC" else "masks"
    assert taken.name == f"{source}:{project / 'uploads' / 'data'}"
    assert (taken.kind.startswith(kind), taken.train, taken.val, taken.images, taken.left_out) == (
        True,
        2,
        1,
        3,
        left_out,
    )
    theirs, ours = scenes_of(f"{source}:{folder}"), scenes_of(taken.name)
    assert [len(part) for part in ours] == [2, 1, 1]
    for before, after in zip(theirs, ours, strict=True):
        assert all(np.array_equal(a, b) for pair in zip(before, after, strict=True) for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_names_in_a_zip_and_on_disk_say_the_same(kind, tmp_path):
    members = LAYOUTS[kind][0]()
    folder = Folder(laid_out(members, tmp_path / "folder"))
    file = tmp_path / "d.zip"
    file.write_bytes(zips.zipped(members))
    packed = Contents({entry.name: entry for entry in contents(file, DataError)}, lambda entry: members[entry.name])
    read = voc_layout if kind == "VOC" else mask_layout
    assert kind_of(packed) == kind_of(folder) == kind
    assert read("it", packed) == read("it", folder)


@pytest.mark.parametrize("around", ["", "ADEChallengeData2016/", "a/b/c/"])
def test_folders_around_a_set_are_taken_off(project, around):
    table = {
        f"{around}objectInfo150.txt": b"Idx\tName\n1\twall\n2\tsky, blue\n3\ttree\n",
        f"{around}sceneCategories.txt": b"x",
    }
    taken = receive_data("d.zip", io.BytesIO(zips.zipped(zips.ade20k(around) | table)), project)
    assert (taken.classes, taken.left_out) == (("wall", "sky", "tree"), 1)
    assert (
        taken.said
        == "3 images in the layout of ADE20K (2 to train on, 1 held out), 3 classes; 1 other file was not needed."
    )
    assert sorted(p.name for p in (project / "uploads" / "data").rglob("*.jpg")) == [
        "000001.jpg",
        "000002.jpg",
        "000003.jpg",
    ]


def test_voc_without_its_outermost_folder(project):
    members = {name.removeprefix("VOCdevkit/"): data for name, data in zips.voc().items()}
    taken = receive_data("d.zip", io.BytesIO(zips.zipped(members)), project)
    home = project / "uploads" / "data" / zips.VOC
    lists = home / "ImageSets" / "Segmentation"
    assert (lists / "train.txt").read_text() == "000001\n000002\n"
    levels = [int(np.asarray(Image.open(home / "SegmentationClass" / f"00000{n}.png")).flat[0]) for n in (1, 2, 3)]
    assert (taken.kind, levels) == ("VOC2012", [2, 1, 3])  # in the order of the list, which is not that of the names


@pytest.mark.parametrize(
    "members, why",
    [
        (zips.without(zips.ade20k(), "training/b.png"), "has the layout of ADE20K, but: 1 of 2 images have no mask; b.jpg needs 'annotations/training/b.png' in it"),
        (zips.without(zips.cityscapes(), "leftImg8bit"), "holds a folder gtFine/, but not a whole set to segment; looked for a folder of images for each class, .*VOC2012"),
        (zips.without(zips.voc(), "val.txt"), r"VOC2012 is not all there \('VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt' in it\)"),
        (zips.ade20k() | {"annotations/training/b.png": zips.image(side=7)}, "'annotations/training/b.png' in it is 7x7 pixels and its image 6x6"),
        ({"1.png": zips.PNG, "2.png": zips.PNG}, "lies in no class's folder; looked for .*ADE20K.*Cityscapes.*VOC2012"),
        (zips.voc() | {f"{zips.VOC}/SegmentationClass/2008_c.png": zips.image(level=77)}, r"'VOCdevkit/VOC2012/SegmentationClass/2008_c.png' in it holds the number 77, and there are 21 classes"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_looked_for(project, members, why):
    with pytest.raises(DataError, match=why) as caught:
        receive_data("d.zip", io.BytesIO(zips.zipped(members)), project)
    assert str(caught.value).endswith(".")  # not cut off
    assert list((project / "uploads").iterdir()) == []
