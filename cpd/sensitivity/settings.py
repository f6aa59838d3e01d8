"""How a scan goes: which widths, how many images, when to stop (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cpd.errors import RunError

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class SenseSettings:
    """Attributes:
    ratios: pruning ratios that are tried for every group, each moved to the nearest legal width.
    images: held-out images at the most, chosen at random; 0 for all of them.
    calibration: training images from which batch-norm statistics are taken anew, about; whole batches of 128.
    tolerance: a width needs no more images once its metric is known this well (half of a 90 % interval, against
        evaluating all images); 0 evaluates all images at every width.
    floor: a group is not cut any further once the metric is below this; None for half of the dense network's.
    criterion: importance criterion that chooses the units.
    score_batches: batches of 32 training images behind a criterion that needs data.
    batch: batch size of the latency, 0 to leave it out.
    latency_s: seconds of timed passes for a width, about.
    groups: names of the groups to scan; empty for every prunable one.
    multiple: kept widths are multiples of this.
    memory_mb: room for activations that are kept between widths and groups.
    """

    ratios: tuple[float, ...] = RATIOS
    images: int = 2048
    calibration: int = 256
    tolerance: float = 0.015
    floor: float | None = None
    criterion: str = "l2"
    score_batches: int = 8
    batch: int = 32
    latency_s: float = 0.5
    groups: tuple[str, ...] = ()
    multiple: int = 1
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        if not self.ratios or not all(0 < ratio <= 1 for ratio in self.ratios):
            raise RunError(f"ratios {list(self.ratios)}: give one or more above 0, at most 1.")
        for name, least in (
            ("images", 0),
            ("calibration", 1),
            ("score_batches", 1),
            ("batch", 0),
            ("multiple", 1),
            ("memory_mb", 0),
        ):
            if getattr(self, name) < least:
                raise RunError(f"{name} {getattr(self, name)}: must be {least} or more.")
        for name in ("tolerance", "latency_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RunError(f"{name} {getattr(self, name)}: must be 0 or more.")
        if self.floor is not None and not 0 <= self.floor <= 1:
            raise RunError(f"floor {self.floor}: must lie in 0..1.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ratios": list(self.ratios), "groups": list(self.groups)}

    @staticmethod
    def from_dict(row: Mapping[str, Any]) -> SenseSettings:
        """From options of a run.

        Raises:
            RunError: an unknown name or a value that cannot be.
        """
        kinds: dict[str, Any] = {field.name: str(field.type) for field in fields(SenseSettings)}
        values: dict[str, Any] = {}
        for name, value in row.items():
            if name not in kinds:
                raise RunError(f"no setting of a scan is called {name!r}; there are {', '.join(kinds)}.")
            try:
                values[name] = _as(kinds[name], value)
            except (TypeError, ValueError) as error:
                raise RunError(f"setting {name}={value!r} of the scan: {kinds[name]} is needed.") from error
        return SenseSettings(**values)


def _as(kind: str, value: Any) -> Any:
    if kind.endswith("None") and value is None:
        return None
    if kind.startswith("tuple"):
        if isinstance(value, str):
            raise TypeError("a list is needed")
        return tuple(float(item) if "float" in kind else str(item) for item in value)
    if kind.startswith("float"):
        return float(value)
    if kind == "int":
        if isinstance(value, bool) or int(value) != value:
            raise ValueError("a whole number is needed")
        return int(value)
    return str(value)
