"""Operators timed before on this machine, kept on disk: the same call in another model need not be timed as often.

One file a machine, device, torch and number of threads, in the folder of the traces' cache. A cache that cannot be read
or written costs time and nothing else.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cpd.errors import StorageError
from cpd.files import cache_folder, make_folder, replacing

FloatArray = npt.NDArray[np.float64]

MOST_POINTS = 48  # of one call; older ones go first
MOST_CALLS = 5000


class Timings:
    """Rows (regressors..., ms) by the key of a call (`Quantities.key`)."""

    def __init__(self, surroundings: str, folder: Path | None = None) -> None:
        """`surroundings` names everything but the call itself that a time depends on."""
        name = hashlib.sha256(surroundings.encode()).hexdigest()[:24]
        self.path = (cache_folder() if folder is None else folder) / f"operators-{name}.npz"
        self._rows: dict[str, FloatArray] = {}
        with suppress(OSError, ValueError, KeyError), np.load(self.path, allow_pickle=False) as found:
            self._rows = {key: np.asarray(found[key], np.float64) for key in found.files}

    def of(self, call: str, columns: int) -> FloatArray:
        """(points, columns + 1) what is known of a call."""
        rows = self._rows.get(_digest(call))
        return (
            rows if rows is not None and rows.ndim == 2 and rows.shape[1] == columns + 1 else np.zeros((0, columns + 1))
        )

    def add(self, call: str, rows: FloatArray) -> None:
        key = _digest(call)
        known = self.of(call, rows.shape[1] - 1)
        self._rows.pop(key, None)  # to the end: the oldest calls are the first
        self._rows[key] = np.concatenate([known, rows])[-MOST_POINTS:]

    def save(self) -> None:
        """Write what was added."""
        rows = dict(list(self._rows.items())[-MOST_CALLS:])
        with suppress(OSError, StorageError):
            make_folder(self.path.parent)
            with replacing(self.path) as file:
                np.savez(file, **rows)  # type: ignore[arg-type]


def _digest(call: str) -> str:
    return hashlib.sha256(call.encode()).hexdigest()[:24]
