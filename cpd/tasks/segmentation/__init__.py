"""Semantic segmentation: images, and masks that hold the number of a class for every pixel.

task.py          the task itself: batches, loss, mean IoU
scenes.py        where pixels come from: memory, or files decoded as they are needed
moves.py         random changes to an image together with its mask
windows.py       images larger than what the model takes
layouts.py       how images and masks may lie in folders, or in an archive
meaning.py       what the numbers in their masks mean
masks.py         masks as numbers
pairs.py         an image with its mask as tensors
digit_scenes.py, mask_folder.py, voc.py     one source each
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpd.errors import DataError
from cpd.tasks import DATA_FORMS, Progress

if TYPE_CHECKING:
    from cpd.tasks.segmentation.task import SegmentationTask


def load_segmentation(
    data: str, shape: tuple[int, int, int], spec: str = "", progress: Progress | None = None
) -> SegmentationTask:
    """See `cpd.tasks.load_task`."""
    if data == "digit-scenes":
        from cpd.tasks.segmentation.digit_scenes import digit_scenes

        return digit_scenes(shape, spec)

    from cpd.tasks.classification.normalise import normalisation

    norm = normalisation(spec, shape[0])
    source, colon, place = data.partition(":")
    if source == "masks" and colon:
        from cpd.tasks.segmentation.mask_folder import mask_folder

        return mask_folder(place, shape, norm, progress)
    if source == "voc" and colon:
        from cpd.tasks.segmentation.voc import voc

        return voc(place, shape, norm, progress)
    raise DataError(f"{data!r} is no data set; give {DATA_FORMS}.")
