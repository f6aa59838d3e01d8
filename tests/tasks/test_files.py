"""Folders and tables of images: the pixels that Pillow reads, the labels that the names say, damage named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cpd.errors import DataError
from cpd.tasks import load_task
from cpd.tasks.classification import images
from cpd.tasks.classification.images import fit
from cpd.tasks.classification.normalise import normalisation

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                picture(100 * label + 10 * (part == "val") + i).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def table(rows: list[tuple[int, int]], names: list[str] | None = None) -> pa.Table:
    """(seed of the picture, label) rows in the Hugging Face convention."""
    made = pa.table({
        "image": pa.array([{"bytes": png(picture(seed)), "path": f"{seed}.png"} for seed, _ in rows]),
        "label": pa.array([label for _, label in rows], pa.int64()),
    })
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(features)})
    return made


def expected(seed: int) -> torch.Tensor:
    """What the model must see of a 12x10 picture at 10x10: its middle, normalised, by Pillow and by hand."""
    middle = np.asarray(picture(seed).crop((1, 0, 11, 10)))
    return (torch.from_numpy(middle.copy()).permute(2, 0, 1) / 255 - MEAN) / STD


@pytest.mark.parametrize("limit", [images.MEMORY_BYTES, 0], ids=["memory", "files"])
def test_folders_give_their_pixels_and_labels(folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MEMORY_BYTES", limit)
    task = load_task(f"imagefolder:{folder}", (3, 10, 10))
    assert task.classes == ("cat", "dog")
    assert (task.train_images, task.val_images) == (12, 4)
    (x, y) = next(task.val_batches(4))
    assert y.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(x, torch.stack([expected(s) for s in (10, 11, 110, 111)]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [images.MEMORY_BYTES, 0], ids=["memory", "files"])
def test_batches_from_files_resume_alike(folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MEMORY_BYTES", limit)
    task = load_task(f"imagefolder:{folder}", (3, 10, 10))
    whole = [x for x, _ in task.train_batches(2, 3, 4)]
    assert len(whole) == 6
    for a, b in zip(whole[2:], (x for x, _ in task.train_batches(2, 3, 4, start=2)), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(whole[0], next(task.train_batches(2, 3, 4, augment=False))[0])
    next(task.train_batches(2))  # a caller who stops early leaves no thread waiting


def test_a_single_set_is_split_by_class(tmp_path: Path) -> None:
    for label, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for i in range(20):
            picture(label * 20 + i).save(tmp_path / name / f"{i}.png")
    task = load_task(f"imagefolder:{tmp_path}", (1, 8, 8))
    assert (task.train_images, task.val_images) == (36, 4)
    assert next(task.val_batches(4))[1].tolist() == [0, 0, 1, 1]


def test_tables_give_their_pixels_labels_and_names(tmp_path: Path) -> None:
    pq.write_table(table([(1, 0), (2, 1), (3, 1)], ["owl", "fox"]), tmp_path / "train-00000-of-00002.parquet")
    pq.write_table(table([(4, 0)], ["owl", "fox"]), tmp_path / "train-00001-of-00002.parquet")
    pq.write_table(table([(5, 1), (6, 0)]), tmp_path / "test.parquet")
    task = load_task(f"parquet:{tmp_path}", (3, 10, 10))
    assert task.classes == ("owl", "fox")
    assert (task.train_images, task.val_images) == (4, 2)
    x, y = next(task.val_batches(2))
    assert y.tolist() == [1, 0]
    torch.testing.assert_close(x, torch.stack([expected(5), expected(6)]), atol=1e-5, rtol=0)


def test_tables_without_a_held_out_part_and_validation_before_test(tmp_path: Path) -> None:
    pq.write_table(table([(i, i % 2) for i in range(40)]), tmp_path / "train.parquet")
    assert load_task(f"parquet:{tmp_path}", (3, 8, 8)).val_images == 4
    pq.write_table(table([(i, i % 2) for i in range(7)]), tmp_path / "test.parquet")
    pq.write_table(table([(i, i % 2) for i in range(5)]), tmp_path / "validation.parquet")
    assert load_task(f"parquet:{tmp_path}", (3, 8, 8)).val_images == 5


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "cat" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cat/0\.png"):
        load_task(f"imagefolder:{folder}", (3, 8, 8))
    other = tmp_path / "tables"
    other.mkdir()
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), other / "train.parquet")
    with pytest.raises(DataError, match="needs the columns image and label"):
        load_task(f"parquet:{other}", (3, 8, 8))
    (other / "train.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_task(f"parquet:{other}", (3, 8, 8))
    rows = pa.table({"image": pa.array([{"bytes": b"no picture", "path": "/etc/passwd"}] * 4), "label": [0, 0, 1, 1]})
    pq.write_table(rows, other / "train.parquet")
    with pytest.raises(DataError, match="image 0 cannot be read"):
        load_task(f"parquet:{other}", (3, 8, 8))
    pq.write_table(pa.table({"image": [b""] * 2, "label": ["a", "b"]}), other / "train.parquet")
    with pytest.raises(DataError, match="whole numbers"):
        load_task(f"parquet:{other}", (3, 8, 8))


def test_classes_held_out_but_not_trained_on_are_named(folder: Path) -> None:
    (folder / "val" / "eel").mkdir()
    with pytest.raises(DataError, match="eel"):
        load_task(f"imagefolder:{folder}", (3, 8, 8))


def test_folders_without_classes_are_told_what_is_missing(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match="a folder of its own"):
        load_task(f"imagefolder:{tmp_path}", (3, 8, 8))


def test_a_random_part_lies_inside_and_the_middle_is_the_middle() -> None:
    image = picture(3, (40, 20))
    assert torch.equal(fit(image, (3, 20, 20)), torch.from_numpy(np.asarray(image.crop((10, 0, 30, 20))).copy()).permute(2, 0, 1))
    for draw in ([0, 0, 0, 0], [1, 1, 1, 1], [0.3, 0.7, 0.1, 0.9]):
        assert fit(image, (3, 16, 24), draw).shape == (3, 16, 24)
    assert fit(image, (1, 8, 8)).shape == (1, 8, 8)


def test_normalisation_is_the_models_own() -> None:
    import timm

    for name in ("resnet18", "vit_tiny_patch16_224"):  # ImageNet's and 0.5
        assert normalisation(f"timm:{name}", 3).mean == timm.create_model(name).pretrained_cfg["mean"]
    assert normalisation("net.py:Net", 3).mean == (0.485, 0.456, 0.406)
    assert normalisation("net.py:Net", 1).mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
