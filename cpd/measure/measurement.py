"""What was measured, as numbers that can be kept and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cpd.errors import StorageError


@dataclass(frozen=True)
class Latency:
    """Wall time of one forward pass of a whole batch, in milliseconds, over `runs` passes."""

    batch: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    threads: int


@dataclass(frozen=True)
class Measurement:
    """Size, accuracy and latency of one model.

    Attributes:
        macs: multiply-accumulates of one sample (1 MAC = 2 FLOPs).
        top1: accuracy on `top1_images` held-out images, 0..1; None where there was no data.
        device: "cpu", "cuda:0", ...
        machine: what the device is called, in words.
        torch: its version.
    """

    parameters: int
    macs: float
    top1: float | None
    top1_images: int
    latency: tuple[Latency, ...]
    device: str
    machine: str
    torch: str

    def at(self, batch: int) -> Latency | None:
        """The latency at one batch size, None where it was not measured."""
        return next((row for row in self.latency if row.batch == batch), None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"latency": [asdict(row) for row in self.latency]}

    @staticmethod
    def from_dict(row: Mapping[str, Any], source: str = "measurement") -> Measurement:
        """Read what `to_dict` gave; `source` names it in errors.

        Raises:
            StorageError: fields missing or unknown.
        """
        try:
            return Measurement(**{**row, "latency": tuple(Latency(**each) for each in row["latency"])})
        except (KeyError, TypeError) as error:
            raise StorageError(f"{source}: not a measurement ({error}); measure the model again.") from error
