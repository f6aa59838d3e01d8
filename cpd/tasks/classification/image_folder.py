"""`imagefolder:DIR`: one folder a class, under train/ and val/ (or test/, validation/), or a single set that is split."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.images import Open, image_set, pair
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.classification.task import ClassificationTask
from cpd.tasks.files import IMAGES

HELD_OUT = ("val", "validation", "valid", "test")  # the first of these that is there


def image_folder(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> ClassificationTask:
    """A task from folders of images.

    Raises:
        DataError: no such folder, no classes in it, or classes held out that are not trained on.
    """
    name, root = f"imagefolder:{place}", Path(place)
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}.")
    held_root = next((root / part for part in HELD_OUT if (root / part).is_dir()), None)
    train_root = root / "train" if (root / "train").is_dir() else root
    if train_root == root:
        held_root = None
    classes = tuple(sorted(p.name for p in train_root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not classes:
        raise DataError(
            f"{name}: {train_root} holds no folders; put the images of each class into a folder of its own."
        )
    held = _listed(held_root, classes, name) if held_root else None
    train, held = pair(name, classes, _listed(train_root, classes, name), held)
    return ClassificationTask(
        name, classes, shape, image_set(*train, shape, norm, progress), image_set(*held, shape, norm, progress)
    )


def _listed(root: Path, classes: tuple[str, ...], name: str) -> tuple[Open, Tensor]:
    unknown = sorted({p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")} - set(classes))
    if unknown:
        raise DataError(f"{name}: {root} has the class {unknown[0]!r}, which is not among those trained on.")
    files: list[Path] = []
    labels: list[int] = []
    for label, each in enumerate(classes):
        found = (
            sorted(p for p in (root / each).rglob("*") if p.suffix.lower() in IMAGES) if (root / each).is_dir() else []
        )
        files += found
        labels += [label] * len(found)

    def open_image(number: int) -> Image.Image:
        try:
            image = Image.open(files[number])
            image.load()
            return image
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"{files[number]}: cannot be read as an image ({str(error)[:120]}); remove it or mend it."
            ) from error

    return open_image, torch.tensor(labels, dtype=torch.int64)
