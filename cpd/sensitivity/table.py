"""What was measured of every group cut alone: the table as numbers, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cpd.errors import StorageError
from cpd.files import read_json, write_json

SCHEMA = 1
FILE = "sensitivity.json"


@dataclass(frozen=True)
class Point:
    """The network with one group cut to `kept` units, batch-norm statistics taken anew, nothing trained.

    Attributes:
        value: the metric, 0..1. Where not all images were needed it is the dense network's value on all of them, plus
            the difference between the two networks on those that were.
        low, high: 90 % interval of `value` on images of this kind.
        images: how many were evaluated.
        deviation: standard deviation of the difference to the dense network, both on the same images: far below what
            `low` to `high` says of `value` alone, and what matters when points are compared with one another.
        latency_ms: of a whole batch; None until it is timed.
        latency_low, latency_high: 90 % interval of `latency_ms`, the drift of the machine taken out.
        macs: multiply-accumulates of one sample.
    """

    kept: int
    value: float
    low: float
    high: float
    images: int
    latency_ms: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    macs: float = 0.0
    deviation: float = 0.0


@dataclass(frozen=True)
class GroupSensitivity:
    """One group's points, the widest first; the first is the dense network.

    Attributes:
        stopped: why narrower widths were not measured, in words; "" where all were, or still are to be.
        tied: groups that must keep as many units and were cut with it.
    """

    points: tuple[Point, ...]
    stopped: str = ""
    tied: tuple[str, ...] = ()


@dataclass(frozen=True)
class SensitivityTable:
    """All groups of one model.

    Attributes:
        model: digest of the architecture, as in the comb's record.
        metric: what `value` is, e.g. "top1" or "miou".
        dense: the metric of the dense network, its batch-norm statistics taken anew from the same images as every cut
            one's, so that a drop is the cut's alone.
        images: held-out images at the most, the number behind `dense`.
        batch: batch size of the latency.
        groups: by name, in forward order; one that is not there has not been measured.
        seconds: wall time so far.
        done: whether the scan has ended.
        dense_low, dense_high: 90 % interval of `dense`.
        untouched: the metric of the model with the statistics that it came with; None where that was not measured.
        dense_latency_ms: of the dense network, None until it is timed.
        criterion: importance criterion that chose the units.
        floor: metric below which a group is not cut any further.
        calibration: training images behind the batch-norm statistics, 0 for a network without any.
        device: what it was measured on, in words.
        threads: of the processor, 0 where it did not compute.
    """

    model: str
    metric: str
    dense: float
    images: int
    batch: int
    groups: Mapping[str, GroupSensitivity]
    seconds: float = 0.0
    done: bool = False
    dense_low: float = 0.0
    dense_high: float = 1.0
    untouched: float | None = None
    dense_latency_ms: float | None = None
    criterion: str = ""
    floor: float = 0.0
    calibration: int = 0
    device: str = ""
    threads: int = 0
    schema: int = field(default=SCHEMA, repr=False)

    def save(self, path: Path) -> None:
        """Write the table whole or not at all.

        Raises:
            StorageError: the disk refuses.
        """
        write_json(path, self.to_dict())

    @staticmethod
    def load(path: Path) -> SensitivityTable:
        """Raises StorageError: there is no such file, or it is not a table of this version."""
        return SensitivityTable.from_dict(read_json(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        row = asdict(self)
        for group in row["groups"].values():
            group["points"], group["tied"] = list(group["points"]), list(group["tied"])
        return row

    @staticmethod
    def from_dict(row: Any, source: str = "sensitivity") -> SensitivityTable:
        """Read what `to_dict` gave; `source` names it in errors.

        Raises:
            StorageError: fields missing or unknown, or another schema.
        """
        try:
            if row["schema"] != SCHEMA:
                raise StorageError(f"{source}: schema {row['schema']}, this version reads {SCHEMA}; scan again.")
            groups = {
                name: GroupSensitivity(
                    tuple(Point(**point) for point in group["points"]), group["stopped"], tuple(group["tied"])
                )
                for name, group in row["groups"].items()
            }
            return SensitivityTable(**(row | {"groups": groups}))
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{source}: not a table of sensitivities ({type(error).__name__}: {error}); scan again."
            ) from error
