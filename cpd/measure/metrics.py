"""What each metric is called, on screens and in tables: one row a metric, and no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """How to speak of a metric; its values are shares, 0..1, shown in percent and compared in points.

    Attributes:
        name: as tasks, runs and files call it, e.g. "top1"; a run records "val/<name>" and "teacher/<name>".
        title: of a tile, e.g. "Accuracy (top-1)".
        short: in a table or on an axis, e.g. "top-1".
        about: what it measures, in a sentence.
        per: what its values per class are called, e.g. "IoU"; "" where it has none.
    """

    name: str
    title: str
    short: str
    about: str
    per: str = ""

    @property
    def noun(self) -> str:
        """What the held-out data are asked for, e.g. "Accuracy"."""
        return self.title.partition(" (")[0]


METRICS: dict[str, Words] = {
    words.name: words
    for words in (
        Words(
            "top1", "Accuracy (top-1)", "top-1", "Share of held-out images whose most likely class is the right one."
        ),
        Words(
            "miou",
            "Mean IoU",
            "mIoU",
            "Intersection over union: of the pixels that are of a class, or are taken for it, the share that is both. "
            "Counted over all held-out images together, then averaged over the classes.",
            per="IoU",
        ),
    )
}


def words(name: str) -> Words:
    """Words for a metric; a task of one's own may bring a name that has no row here, which then speaks for itself."""
    return METRICS.get(name) or (Words(name, name, name, f"The metric {name} of the held-out data.") if name else NONE)


NONE = Words("", "Accuracy", "accuracy", "There is no labelled data to measure it on.")
