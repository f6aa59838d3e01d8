"""What plans came to when they were carried out on the spot: cut for real, measured, not trained.

Kept by the plan's digest, so that a measurement is shown for the very network that it was taken of and for no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpd.errors import CpdError, StorageError
from cpd.files import read_json, write_json
from cpd.measure.measurement import Measurement

SCHEMA = 1
FILE = "trial.json"
MOST = 50  # measured plans of a project; the oldest are forgotten


@dataclass(frozen=True)
class Trial:
    """One plan, carried out.

    Attributes:
        plan: digest of the plan, as `Plan.digest` gives it.
        dense, pruned: both measured in the same minutes, their timed passes interleaved.
        recalibrated: batches from which batch-norm statistics were taken anew; 0 where the network has none.
        when: seconds since 1970.
    """

    plan: str
    dense: Measurement
    pruned: Measurement
    recalibrated: int
    seconds: float
    when: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "plan": self.plan,
            "dense": self.dense.to_dict(),
            "pruned": self.pruned.to_dict(),
            "recalibrated": self.recalibrated,
            "seconds": self.seconds,
            "when": self.when,
        }

    @staticmethod
    def from_dict(row: Any, source: str = "trial") -> Trial:
        """Raises StorageError for anything that `to_dict` did not give."""
        try:
            return Trial(
                str(row["plan"]),
                Measurement.from_dict(row["dense"], source),
                Measurement.from_dict(row["pruned"], source),
                int(row["recalibrated"]),
                float(row["seconds"]),
                float(row["when"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{source}: not a measured plan ({error}); measure the plan again.") from error


def load_trials(path: Path) -> dict[str, Trial]:
    """Measured plans by digest, oldest first; none where there is no file.

    Raises:
        StorageError: the file is damaged or of another schema.
    """
    if not path.exists():
        return {}
    row = read_json(path)
    if not isinstance(row, dict) or row.get("schema") != SCHEMA or not isinstance(row.get("trials"), list):
        raise StorageError(f"{path}: not a file of measured plans; delete it and measure again.")
    trials = [Trial.from_dict(each, str(path)) for each in row["trials"]]
    return {trial.plan: trial for trial in trials}


def add_trial(path: Path, trial: Trial) -> None:
    """Put a measured plan last; an older measurement of the same plan makes room. A damaged file is begun anew.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        known: Iterable[Trial] = load_trials(path).values()
    except CpdError:
        known = ()
    kept = [each for each in known if each.plan != trial.plan][-(MOST - 1) :]
    write_json(path, {"schema": SCHEMA, "trials": [each.to_dict() for each in (*kept, trial)]})
