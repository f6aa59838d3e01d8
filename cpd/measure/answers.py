"""What two models answered on the same held-out images: where they differ, and how sure a difference is. No torch.

For classification an item is an image. For segmentation it is an image too, but what is kept of it are the pixels per
class: how many are of a class, taken for it, and both; all that mean IoU needs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpd.errors import StorageError
from cpd.files import replacing

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

SCHEMA = 1
LEVEL = 0.95  # of every interval here
_Z = 1.959964  # its quantile of the normal distribution
_DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Labelled:
    """One model's answers to images.

    Attributes:
        answer: (N,) most likely class.
        confidence: (N,) its softmax probability.
    """

    answer: IntArray
    confidence: FloatArray


@dataclass(frozen=True, eq=False)
class Mapped:
    """One model's answers to pixels, image by image.

    Attributes:
        both, taken: (N, C) pixels of class c taken for c; pixels taken for c. Ignored pixels count nowhere.
        confusion: (C, C) pixels of class row taken for class column, over all images.
    """

    both: IntArray
    taken: IntArray
    confusion: IntArray


@dataclass(frozen=True, eq=False)
class Difference:
    """How much a metric changed, 0..1, with its interval (`LEVEL`), paired over the same images."""

    value: float
    low: float
    high: float
    how: str

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out no change at all."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers of the dense and the pruned model to every held-out image.

    Attributes:
        metric: "top1" or "miou".
        classes: names, in the order of the numbers.
        targets: (N,) true classes; for segmentation (N, C) pixels of each class.
        dense, pruned: both Labelled, or both Mapped.
        flipped: (N,) share of an image's answers that differ: 0 or 1 for classification.
        shown: numbers of the images in `pictures`, those that flipped most first.
        pictures: (K, h, w, 3) uint8.
    """

    metric: str
    classes: tuple[str, ...]
    targets: IntArray
    dense: Labelled | Mapped
    pruned: Labelled | Mapped
    flipped: FloatArray
    shown: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    pictures: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))

    @property
    def images(self) -> int:
        return len(self.flipped)

    def quality(self, model: str) -> float:
        """The metric of "dense" or "pruned"."""
        found = self._of(model)
        if isinstance(found, Labelled):
            return float((found.answer == self.targets).mean())
        return _mean_iou(found.both.sum(0), found.taken.sum(0), self.targets.sum(0))

    def per_class(self, model: str) -> FloatArray:
        """(C,) share of a class's images that are right, or its IoU; NaN for a class that does not occur."""
        found = self._of(model)
        if isinstance(found, Mapped):
            return _iou(found.both.sum(0), found.taken.sum(0), self.targets.sum(0))
        right = found.answer == self.targets
        return np.array(
            [right[self.targets == c].mean() if (self.targets == c).any() else np.nan for c in range(len(self.classes))]
        )

    def difference(self) -> Difference:
        """Pruned less dense, over the same images.

        Accuracy: interval of a difference of paired proportions, Agresti and Min 2005 (half a count added to each
        cell). Mean IoU: percentile bootstrap over images, Efron 1979.
        """
        if isinstance(self.dense, Labelled) and isinstance(self.pruned, Labelled):
            was, now = self.dense.answer == self.targets, self.pruned.answer == self.targets
            return paired_difference(int((was & ~now).sum()), int((now & ~was).sum()), len(was))
        value = self.quality("pruned") - self.quality("dense")
        draws = self._bootstrap()
        low, high = (float(v) for v in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        return Difference(value, min(low, value), max(high, value), f"bootstrap over {self.images} images, paired")

    def class_differences(self) -> list[tuple[str, Difference]]:
        """Pruned less dense for every class that occurs, with intervals; classification only where images allow."""
        rows = []
        for c, name in enumerate(self.classes):
            if isinstance(self.dense, Labelled) and isinstance(self.pruned, Labelled):
                of = self.targets == c
                if of.any():
                    was, now = (self.dense.answer == c)[of], (self.pruned.answer == c)[of]
                    rows.append(
                        (name, paired_difference(int((was & ~now).sum()), int((now & ~was).sum()), int(of.sum())))
                    )
            else:
                before, after = self.per_class("dense")[c], self.per_class("pruned")[c]
                if np.isfinite(before) and np.isfinite(after):
                    draws = self._bootstrap(c)
                    low, high = (float(v) for v in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
                    value = float(after - before)
                    rows.append((name, Difference(value, min(low, value), max(high, value), "bootstrap over images")))
        return rows

    def confusion(self, model: str) -> IntArray:
        """(C, C) images or pixels of class row taken for class column."""
        found = self._of(model)
        if isinstance(found, Mapped):
            return found.confusion
        table = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(table, (self.targets, found.answer), 1)
        return table

    def new_confusions(self, most: int = 10) -> list[tuple[str, str, int, int]]:
        """(true class, taken for, before, after) of the confusions that grew most."""
        before, after = self.confusion("dense"), self.confusion("pruned")
        grown = after - before
        np.fill_diagonal(grown, 0)
        order = np.argsort(-grown, axis=None, kind="stable")[:most]
        rows = [(int(i // len(self.classes)), int(i % len(self.classes))) for i in order]
        return [
            (self.classes[a], self.classes[b], int(before[a, b]), int(after[a, b])) for a, b in rows if grown[a, b] > 0
        ]

    def _bootstrap(self, only: int | None = None) -> FloatArray:
        assert isinstance(self.dense, Mapped)
        assert isinstance(self.pruned, Mapped)
        random = np.random.default_rng(0)
        # Multinomial counts are what drawing N of N images with replacement gives, as one product for all draws.
        counts = random.multinomial(self.images, np.full(self.images, 1 / self.images), size=_DRAWS).astype(np.float64)
        of = counts @ self.targets
        rows = []
        for found in (self.dense, self.pruned):
            both, taken = counts @ found.both, counts @ found.taken
            either = of + taken - both
            with np.errstate(invalid="ignore", divide="ignore"):
                iou = np.where(either > 0, both / either, np.nan)
            rows.append(iou[:, only] if only is not None else np.nanmean(iou, axis=1))
        change: FloatArray = np.nan_to_num(rows[1] - rows[0])
        return change

    def _of(self, model: str) -> Labelled | Mapped:
        return {"dense": self.dense, "pruned": self.pruned}[model]

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all."""
        arrays: dict[str, Any] = {
            "schema": np.array(SCHEMA),
            "metric": np.array(self.metric),
            "classes": np.array(self.classes, dtype=np.str_),
            "targets": self.targets,
            "flipped": self.flipped,
            "shown": self.shown,
            "pictures": self.pictures,
        }
        for name, found in (("dense", self.dense), ("pruned", self.pruned)):
            arrays |= {f"{name}.{key}": value for key, value in vars(found).items()}
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @staticmethod
    def load(path: Path) -> Answers:
        """Read what `save` wrote.

        Raises:
            StorageError: missing, damaged, or of another schema.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            if int(arrays["schema"]) != SCHEMA:
                raise StorageError(
                    f"{path}: has schema {int(arrays['schema'])}, this version reads {SCHEMA}; run again."
                )
            models = {name: _read_model(arrays, name) for name in ("dense", "pruned")}
            return Answers(
                str(arrays["metric"]),
                tuple(str(name) for name in arrays["classes"]),
                arrays["targets"],
                models["dense"],
                models["pruned"],
                arrays["flipped"],
                arrays["shown"],
                arrays["pictures"],
            )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StorageError(f"{path}: cannot read the answers ({error}).") from error


def paired_difference(lost: int, won: int, images: int) -> Difference:
    """Interval of (won - lost) / images, where `lost` were right only before and `won` only after.

    Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions": Wald's interval with
    half a count added to each of the four cells.
    """
    n = images + 2
    centre = (won - lost) / n
    spread = _Z * float(np.sqrt((won + lost + 1) - (won - lost) ** 2 / n)) / n
    value = (won - lost) / images
    return Difference(value, max(-1.0, min(value, centre - spread)), min(1.0, max(value, centre + spread)),
                      f"{images} images, the same for both models")  # fmt: skip


def wilson(share: float, images: int) -> tuple[float, float]:
    """Interval of a share (`LEVEL`), Wilson 1927."""
    if images < 1:
        return 0.0, 1.0
    z2 = _Z**2 / images
    centre = (share + z2 / 2) / (1 + z2)
    spread = _Z / (1 + z2) * float(np.sqrt(share * (1 - share) / images + z2 / (4 * images)))
    return max(0.0, min(share, centre - spread)), min(1.0, max(share, centre + spread))


def _iou(both: IntArray, taken: IntArray, of: IntArray) -> FloatArray:
    either = of + taken - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(either > 0, both / either, np.nan))


def _mean_iou(both: IntArray, taken: IntArray, of: IntArray) -> float:
    return float(np.nanmean(_iou(both, taken, of)))


def _read_model(arrays: Mapping[str, Any], name: str) -> Labelled | Mapped:
    if f"{name}.answer" in arrays:
        return Labelled(arrays[f"{name}.answer"], arrays[f"{name}.confidence"])
    return Mapped(arrays[f"{name}.both"], arrays[f"{name}.taken"], arrays[f"{name}.confusion"])
