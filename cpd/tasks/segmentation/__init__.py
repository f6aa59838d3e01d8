"""Semantic segmentation: images, and masks that hold the number of a class for every pixel.

task.py          the task itself: batches, loss, mean IoU
scenes.py        where pixels come from: memory, or files decoded as they are needed
moves.py         random changes to an image together with its mask
windows.py       images larger than what the model takes
digit_scenes.py, mask_folder.py, voc.py     one source each
"""

from __future__ import annotations

from cpd.tasks import Progress
from cpd.tasks.segmentation.task import SegmentationTask


def load_segmentation(
    data: str, shape: tuple[int, int, int], spec: str = "", progress: Progress | None = None
) -> SegmentationTask:
    """See `cpd.tasks.load_task`."""
    from cpd.tasks.segmentation.digit_scenes import digit_scenes

    return digit_scenes(shape, spec)
