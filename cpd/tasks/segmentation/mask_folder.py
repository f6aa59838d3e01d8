"""`masks:DIR`: images and masks in folders, in ADE20K's layout, Cityscapes', or plain. See layouts.py and meaning.py."""

from __future__ import annotations

from pathlib import Path

from cpd.errors import DataError
from cpd.tasks import Progress
from cpd.tasks.classification.normalise import Normalisation
from cpd.tasks.segmentation.layouts import Folder, Layout, mask_layout
from cpd.tasks.segmentation.masks import numbers_in, sizes_of
from cpd.tasks.segmentation.meaning import meaning
from cpd.tasks.segmentation.pairs import Reader
from cpd.tasks.segmentation.scenes import scene_set
from cpd.tasks.segmentation.task import SegmentationTask


def mask_folder(
    place: str, shape: tuple[int, int, int], norm: Normalisation, progress: Progress | None = None
) -> SegmentationTask:
    """A task from folders of images and masks.

    Raises:
        DataError: no such folder, images without masks, masks that are none, or fewer than two classes.
    """
    name, root = f"masks:{place}", Path(place)
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}.")
    return task_of(name, mask_layout(name, Folder(root)), root, shape, norm, progress)


def task_of(
    name: str,
    layout: Layout,
    root: Path,
    shape: tuple[int, int, int],
    norm: Normalisation,
    progress: Progress | None = None,
) -> SegmentationTask:
    """The task of what lies in `root`."""
    pairs = [[(root / image, root / mask) for image, mask in part] for part in (layout.train, layout.val)]
    means = meaning(name, layout, Folder(root), lambda: numbers_in([*pairs[0], *pairs[1]], progress))
    train, val = (
        scene_set(
            Reader(part, len(means.classes), shape[0], means.renumber), sizes_of(part), shape, norm, progress=progress
        )
        for part in pairs
    )
    return SegmentationTask(name, means.classes, shape, train=train, val=val)
