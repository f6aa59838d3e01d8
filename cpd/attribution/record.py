"""What an attribution found: answers and heat maps of a few images, as JSON and arrays in a folder, without torch.

index.json      the networks, the layer, and of every image its number, its label and the answers
<number>.npz    "image" (H, W, C) uint8, and "<method>.<network>" (H, W) float32 for every heat map
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
from cpd.files import make_folder, read_json, replacing, write_json

SCHEMA = 1
INDEX = "index.json"
DENSE, PRUNED = "dense", "pruned"  # the names of the networks

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What one network says of one image.

    Attributes:
        top: the most likely classes with their probabilities 0..1, best first; of a segmentation the classes with most
            pixels and their shares.
        score: of the class that is explained, before the softmax.
        probability: of the class that is explained; of a segmentation the mean over the pixels explained.
    """

    top: tuple[tuple[int, float], ...]
    score: float
    probability: float


@dataclass(frozen=True)
class Explained:
    """One image.

    Attributes:
        number: among the held-out images.
        label: the right class, -1 where there is no single one.
        target: the class that is explained: the dense model's answer.
        share: of the pixels that the explained score is the mean of; 1 for a classification.
        answers: by network.
        gaps: by "<method>.<network>" how far the heat map's sum is from the change of score that it should add up to,
            as a share of that change; only for methods that promise it.
    """

    number: int
    label: int
    target: int
    share: float
    answers: Mapping[str, Answer]
    gaps: Mapping[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether the networks differ in their first answer."""
        return len({answer.top[0][0] for answer in self.answers.values()}) > 1


@dataclass(frozen=True)
class Attribution:
    """All that one comparison found so far.

    Attributes:
        model: digest of the architecture.
        compared: "dense", "plan", or the id of the run whose model stands beside the dense one.
        plan: digest of the plan that was cut, "" for none.
        layer: module and grid that Grad-CAM reads, e.g. "layer4.1, 7 x 7"; "" where there is none.
        looked: held-out images that were compared to choose these; `changed` of them with another answer.
        done: whether every image is there.
    """

    model: str
    compared: str
    plan: str
    classes: tuple[str, ...]
    methods: tuple[str, ...]
    layer: str
    looked: int
    changed: int
    images: tuple[Explained, ...]
    seconds: float
    done: bool

    def save(self, folder: Path) -> None:
        """Write the index; the images' arrays come before it. Raises StorageError."""
        write_json(make_folder(folder) / INDEX, {"schema": SCHEMA} | _plain(self))

    @staticmethod
    def load(folder: Path) -> Attribution:
        """Raises StorageError when it is damaged or of another version."""
        path = folder / INDEX
        row = read_json(path)
        try:
            if row.pop("schema") != SCHEMA:
                raise StorageError(f"{path}: written by another version; explain the images again.")
            lists: dict[str, Any] = {name: tuple(row.pop(name)) for name in ("classes", "methods")}
            return Attribution(images=tuple(_explained(image) for image in row.pop("images")), **lists, **row)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise StorageError(
                f"{path}: not a record of heat maps ({type(error).__name__}: {error}); explain again."
            ) from error


def save_arrays(folder: Path, number: int, arrays: Mapping[str, Array]) -> None:
    """Arrays of one image, whole or not at all."""
    with replacing(make_folder(folder) / f"{number}.npz") as file:
        np.savez_compressed(file, allow_pickle=False, **dict(arrays))


def load_arrays(folder: Path, number: int) -> dict[str, Array]:
    """Raises StorageError when the file is missing or damaged."""
    path = folder / f"{number}.npz"
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); explain the images again.") from error


def _plain(found: Attribution) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)


def _explained(row: dict[str, Any]) -> Explained:
    answers = {
        name: Answer(
            tuple((int(c), float(p)) for c, p in answer["top"]), float(answer["score"]), float(answer["probability"])
        )
        for name, answer in row.pop("answers").items()
    }
    return Explained(answers=answers, **row)
