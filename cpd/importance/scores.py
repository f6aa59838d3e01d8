"""Scores as names and numbers: what plans, files and screens need, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpd.errors import StorageError

SCHEMA = 1

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerScores:
    """The criterion applied to one weight tensor alone, per position of its first axis.

    On a student only living positions are listed, in their order.
    """

    tensor: str
    scores: FloatArray  # (living positions,)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one criterion for one model; larger means keep.

    Attributes:
        model: digest of the architecture, as in the comb's record.
        groups: (width,) per group; a unit that a student has already lost scores 0.
        layers: module name -> its weight's scores.
        batches: batches of data behind the scores; 0 for a criterion that needs none.
        seconds: wall time the scoring took (shared by the criteria that were scored together).
        parts: the same scores from disjoint shares of the batches, each alone (batch b is in part b modulo their
            number); `cpd.importance.stability` tells how alike they rank. Empty where one batch or none was used.
        silent: groups about which the criterion says nothing (no batch norm, say). All their units score alike: what
            units score on average, so that they neither go first nor last.
    """

    criterion: str
    model: str
    groups: Mapping[str, FloatArray]
    layers: Mapping[str, LayerScores]
    batches: int = 0
    seconds: float = 0.0
    parts: tuple[Mapping[str, FloatArray], ...] = ()
    silent: tuple[str, ...] = ()

    def to_json(self) -> str:
        row = {
            "schema": SCHEMA,
            "criterion": self.criterion,
            "model": self.model,
            "groups": _lists(self.groups),
            "layers": {
                name: {"tensor": layer.tensor, "scores": _floats(layer.scores)} for name, layer in self.layers.items()
            },
            "batches": self.batches,
            "seconds": self.seconds,
            "parts": [_lists(part) for part in self.parts],
            "silent": self.silent,
        }
        return json.dumps(row)

    @staticmethod
    def from_json(text: str, source: str = "scores") -> ScoreTable:
        """Read scores; `source` names them in errors.

        Raises:
            StorageError: not a score table, or of another schema.
        """
        try:
            row: dict[str, Any] = json.loads(text)
            if row["schema"] != SCHEMA:
                raise StorageError(f"{source}: score schema {row['schema']}, this version reads {SCHEMA}; score again.")
            return ScoreTable(
                criterion=row["criterion"],
                model=row["model"],
                groups=_arrays(row["groups"]),
                layers={
                    name: LayerScores(layer["tensor"], np.asarray(layer["scores"], np.float64))
                    for name, layer in row["layers"].items()
                },
                batches=int(row["batches"]),
                seconds=float(row["seconds"]),
                # Tables written before there were parts are read as they are.
                parts=tuple(_arrays(part) for part in row.get("parts", ())),
                silent=tuple(row.get("silent", ())),
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"{source}: not a table of scores ({type(error).__name__}: {error}); score again."
            ) from error

    def save(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.to_json())
        except OSError as error:
            raise StorageError(
                f"{path}: cannot write the scores ({error.strerror}); free space or choose another folder."
            ) from error

    @staticmethod
    def load(path: Path) -> ScoreTable:
        try:
            return ScoreTable.from_json(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{path}: cannot read the scores ({error}); score again.") from error


def _lists(groups: Mapping[str, FloatArray]) -> dict[str, list[float]]:
    return {name: _floats(values) for name, values in groups.items()}


def _arrays(groups: Mapping[str, Sequence[float]]) -> dict[str, FloatArray]:
    return {name: np.asarray(values, np.float64) for name, values in groups.items()}


def _floats(values: FloatArray) -> list[float]:
    # Nine significant digits identify every float32, which is what the scores were computed in.
    return [float(f"{v:.9g}") for v in np.asarray(values, np.float64)]
