"""`parquet:DIR`: tables in the Hugging Face convention, columns image {bytes, path} and label."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.images import Open, image_set, pair
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.classification.task import ClassificationTask

IMAGE, LABEL = ("image", "img"), ("label", "labels", "fine_label")  # the names in use, the first that is there
HELD_OUT = ("validation", "valid", "val", "test")


def parquet(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> ClassificationTask:
    """A task from parquet files, told apart by what their names begin with: train, test, validation.

    Raises:
        DataError: no such folder or files, other columns, or labels that are not whole numbers from 0.
    """
    name, root = f"parquet:{place}", Path(place)
    files = sorted(root.rglob("*.parquet")) if root.is_dir() else [root] if root.is_file() else []
    if not files:
        raise DataError(f"{name}: there are no .parquet files in {root}.")
    train_files = [f for f in files if _is(f, root, "train")]
    held_files = next((found for part in HELD_OUT if (found := [f for f in files if _is(f, root, part)])), [])
    if not train_files and held_files:
        raise DataError(f"{name}: no file is called train*.parquet; {held_files[0].name} alone cannot be trained on.")
    table, names = _table(train_files or files, name)
    held_table, held_names = _table(held_files, name) if held_files and train_files else (None, ())
    train = _rows(table, name)
    held = _rows(held_table, name) if held_table is not None else None
    most = max(int(labels.max()) for _, labels in [train, *([held] if held else [])]) + 1
    classes = names or held_names or tuple(str(i) for i in range(most))
    if len(classes) < most:
        raise DataError(f"{name}: label {most - 1} has no name; its {len(classes)} classes count from 0.")
    train, held = pair(name, classes, train, held)
    return ClassificationTask(
        name, classes, shape, image_set(*train, shape, norm, progress), image_set(*held, shape, norm, progress)
    )


def _is(file: Path, root: Path, part: str) -> bool:
    """Whether a file belongs to a part of the data: by its own name, or by the folder that it lies in."""
    names = [file.stem, *(p.name for p in file.parents if root in p.parents)]
    return any(name == part or name.startswith((f"{part}-", f"{part}_", f"{part}.")) for name in names)


def _table(files: list[Path], name: str) -> tuple[pa.Table, tuple[str, ...]]:
    tables = []
    names: tuple[str, ...] = ()
    for file in files:
        try:
            columns = pq.read_schema(file).names
            image = next((c for c in IMAGE if c in columns), None)
            label = next((c for c in LABEL if c in columns), None)
            if image is None or label is None:
                raise DataError(f"{file}: needs the columns image and label, has {', '.join(columns[:8])}.")
            names = names or _class_names(pq.read_schema(file), label)
            tables.append(pq.read_table(file, columns=[image, label]).rename_columns(["image", "label"]))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file}: cannot be read as parquet ({str(error).splitlines()[0][:160]}).") from error
    try:
        return pa.concat_tables(tables), names
    except pa.ArrowException as error:
        raise DataError(f"{name}: its files have columns of different types.") from error


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Names that the Hugging Face metadata gives to the labels; () where it does not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(n) for n in names)


def _rows(table: pa.Table, name: str) -> tuple[Open, Tensor]:
    labels = table.column("label")
    if not pa.types.is_integer(labels.type) or labels.null_count or not len(labels) or min(labels.to_pylist()) < 0:
        raise DataError(
            f"{name}: labels must be whole numbers from 0, without gaps in the column, and are {labels.type}."
        )
    images: Any = table.column("image").combine_chunks()
    if isinstance(images, pa.ChunkedArray):  # too large for one chunk
        images = table.column("image")

    def open_image(number: int) -> Image.Image:
        value = images[number].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DataError(f"{name}: image {number} has no bytes in its row; files beside the table are not opened.")
        return Image.open(io.BytesIO(data))

    return open_image, torch.tensor(labels.to_pylist(), dtype=torch.int64)
