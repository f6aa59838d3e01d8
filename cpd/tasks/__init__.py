"""Tasks: data, metric and loss that a model is trained and judged by.

digits              scikit-learn's 1,797 handwritten digits, built in
imagefolder:DIR     one folder a class, under train/ and val/ or test/, or a single set that is split
parquet:DIR         Hugging Face columns: image {bytes, path} and label
torch/NAME[:DIR]    a data set that timm knows, e.g. torch/cifar10, hfds/ORG/NAME

digit-scenes        those digits laid on textured ground, with a mask a pixel, built in
masks:DIR           images and masks: ADE20K's, Cityscapes' or plain folders
voc:DIR             PASCAL VOC as torchvision reads it

task.py             what the trainer and the measurements ask of a task
order.py            which images come when
files.py            which files are images
classification/     one source of images a file
segmentation/       one source of images with masks a file
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cpd.tasks.task import Task

DATA_FORMS = (
    "digits, digit-scenes, imagefolder:DIR, parquet:DIR, masks:DIR, voc:DIR, or a name timm knows, "
    "such as torch/cifar10:DIR"
)
_SEGMENTATION = ("digit-scenes", "masks", "voc")

Progress = Callable[[int, int], None]  # (done, total)


def load_task(
    data: str, inputs: tuple[Tensor, ...] | tuple[int, int, int], spec: str = "", progress: Progress | None = None
) -> Task:
    """The task that `data` names, its images made to fit a model.

    Args:
        data: one of the forms in the head of this package.
        inputs: the model's example inputs, or (channels, height, width).
        spec: the model's SPEC, whose normalisation is used where it is known (timm); ImageNet's otherwise.
        progress: told (images read, images in all) while a data set is read into memory.
    Raises:
        DataError: no such data, data without images or labels, or a model that takes no images.
    """
    if data.partition(":")[0] in _SEGMENTATION:
        from cpd.tasks.segmentation import load_segmentation

        return load_segmentation(data, _shape(inputs), spec, progress)
    from cpd.tasks.classification import load_classification

    return load_classification(data, _shape(inputs), spec, progress)


def _shape(inputs: tuple[Tensor, ...] | tuple[int, int, int]) -> tuple[int, int, int]:
    from cpd.errors import DataError

    first = inputs[0]
    shape = inputs if isinstance(first, int) else tuple(first.shape[1:])
    if len(shape) != 3:
        raise DataError(
            f"the model takes inputs of shape {tuple(getattr(first, 'shape', inputs))}, not batches of images."
        )
    channels, height, width = (int(s) for s in shape)  # type: ignore[arg-type]
    return channels, height, width
