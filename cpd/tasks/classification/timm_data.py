"""Data sets by the names that timm knows: `torch/cifar10:DIR`, `hfds/ORG/NAME`, `tfds/NAME`."""

from __future__ import annotations

import importlib
from typing import Any

import cpd._torchvision  # noqa: F401  declares operators that torchvision needs

import torch
from PIL import Image
from torch import Tensor

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.images import Open, image_set, pair
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.classification.task import ClassificationTask

_HELD_OUT = ("validation", "test")


def timm_data(
    source: str, place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> ClassificationTask:
    """A task from `timm.data.create_dataset(source, root=place)`; what is missing is fetched where timm can.

    Raises:
        DataError: timm does not know the name, or cannot read or fetch it.
    """
    name = f"{source}:{place}" if place else source
    train = _part(source, place, "train", name)
    held = None
    for split in _HELD_OUT:
        try:
            held = _part(source, place, split, name)
            break
        except DataError:
            continue
    labels = torch.cat([train[1], held[1]]) if held else train[1]
    classes = tuple(str(i) for i in range(int(labels.max()) + 1))
    train, held = pair(name, classes, train, held)
    return ClassificationTask(
        name, classes, shape, image_set(*train, shape, norm, progress), image_set(*held, shape, norm, progress)
    )


def _part(source: str, place: str, split: str, name: str) -> tuple[Open, Tensor]:
    create = importlib.import_module("timm.data").create_dataset
    try:
        data: Any = create(source, root=place or None, split=split, download=True)
        labels = torch.tensor([int(t) for t in _targets(data)], dtype=torch.int64)
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name}: timm cannot read or fetch its {split} part ({line[:160]}).") from error

    def open_image(number: int) -> Image.Image:
        image = data[number][0]
        if not isinstance(image, Image.Image):
            raise DataError(f"{name}: gives {type(image).__name__}, not images.")
        return image

    return open_image, labels


def _targets(data: Any) -> Any:
    """Labels without decoding the images, where the data set keeps them apart."""
    for place in (data, getattr(data, "reader", None)):
        for attribute in ("targets", "labels", "_labels"):
            if (found := getattr(place, attribute, None)) is not None:
                return found
        samples = getattr(place, "samples", None)
        if samples is not None:
            return [label for _, label in samples]
    return [data[i][1] for i in range(len(data))]
