"""Image classification, from any source of labelled images.

task.py          the task itself: order, batches, loss, metric
images.py        where pixels come from: memory, or files decoded as they are needed
augment.py       random changes to a batch, each a function of numbers that were drawn for it
split.py         a held-out set where the data brings none
digits.py, image_folder.py, parquet.py, timm_data.py     one source each
"""

from __future__ import annotations

from cpd.errors import DataError
from cpd.tasks import DATA_FORMS, Progress
from cpd.tasks.classification.task import ClassificationTask


def load_classification(
    data: str, shape: tuple[int, int, int], spec: str = "", progress: Progress | None = None
) -> ClassificationTask:
    """See `cpd.tasks.load_task`."""
    if data == "digits":
        from cpd.tasks.classification.digits import digits

        return digits(shape)

    from cpd.tasks.classification.normalise import normalisation

    norm = normalisation(spec, shape[0])
    source, colon, place = data.partition(":")
    if source == "imagefolder" and colon:
        from cpd.tasks.classification.image_folder import image_folder

        return image_folder(place, shape, norm, progress)
    if source == "parquet" and colon:
        from cpd.tasks.classification.parquet import parquet

        return parquet(place, shape, norm, progress)
    if "/" in source:
        from cpd.tasks.classification.timm_data import timm_data

        return timm_data(source, place, shape, norm, progress)
    raise DataError(f"{data!r} is no data set; give {DATA_FORMS}.")
