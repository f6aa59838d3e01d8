"""`voc:DIR`: PASCAL VOC's segmentation sets as torchvision reads them, from files that are there already.

DIR is the folder that holds VOCdevkit; the newest year in it is used.
"""

from __future__ import annotations

from pathlib import Path

import cpd._torchvision  # noqa: F401  before torchvision

from torchvision.datasets import VOCSegmentation

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.segmentation.mask_folder import Found, task_of
from cpd.tasks.segmentation.task import SegmentationTask

CLASSES = tuple(
    "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,"
    "pottedplant,sheep,sofa,train,tvmonitor".split(",")
)


def voc(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> SegmentationTask:
    """Nothing is ever fetched.

    Raises:
        DataError: there is no VOC in the folder, or not all of it.
    """
    name, root = f"voc:{place}", Path(place)
    years = sorted(path.name[3:] for path in (root / "VOCdevkit").glob("VOC20[0-9][0-9]"))
    if not years:
        raise DataError(f"{name}: holds no VOCdevkit/VOC2012 or another year; unpack the VOC archive there.")
    try:
        train, val = (VOCSegmentation(str(root), years[-1], part, download=False) for part in ("train", "val"))
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"{name}: VOC{years[-1]} is not all there ({str(error)[:160]}); unpack the archive again."
        ) from error
    pairs = [[(Path(i), Path(m)) for i, m in zip(part.images, part.masks, strict=True)] for part in (train, val)]
    missing = next((file for part in pairs for pair in part for file in pair if not file.is_file()), None)
    if missing or not all(pairs):
        raise DataError(
            f"{name}: VOC{years[-1]} is not all there ({missing or 'a list is empty'}); unpack the archive again."
        )
    return task_of(name, Found(pairs[0], pairs[1], CLASSES), shape, norm, progress)
