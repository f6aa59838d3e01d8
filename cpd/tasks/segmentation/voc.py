"""`voc:DIR`: PASCAL VOC's segmentation sets, from files that are there already; nothing is ever fetched.

DIR is the folder that holds VOCdevkit; the newest year in it is used. See layouts.py.
"""

from __future__ import annotations

from pathlib import Path

from cpd.tasks import Progress
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.segmentation.layouts import Folder, voc_layout
from cpd.tasks.segmentation.mask_folder import task_of
from cpd.tasks.segmentation.task import SegmentationTask


def voc(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> SegmentationTask:
    """Raises DataError: there is no VOC in the folder, or not all of it."""
    name, root = f"voc:{place}", Path(place)
    return task_of(name, voc_layout(name, Folder(root)), root, shape, norm, progress)
