"""What was measured, as numbers that can be kept and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
class Memory:
    """Bytes at the fullest moment of one forward pass of a whole batch: weights, samples and what lives beside them."""

    batch: int
    peak_bytes: int


@dataclass(frozen=True)
class Measurement:
    """Size, quality and latency of one model.

    Attributes:
        macs: multiply-accumulates of one sample (1 MAC = 2 FLOPs).
        metric: what `quality` is, a name of `cpd.measure.metrics`, e.g. "top1" or "miou"; "" where there was no data.
        quality: that metric on `images` held-out images, 0..1; None where there was no data.
        device: "cpu", "cuda:0", ...
        machine: what the device is called, in words.
        torch: its version.
        memory: the peak of a pass at the batch sizes of the latency; empty where an earlier version measured.
        classes: the metric of every class by the class's name, where it has such values and the class occurs.
    """

    parameters: int
    macs: float
    metric: str
    quality: float | None
    images: int
    latency: tuple[Latency, ...]
    device: str
    machine: str
    torch: str
    classes: Mapping[str, float] | None = None
    memory: tuple[Memory, ...] = ()

    def at(self, batch: int) -> Latency | None:
        """The latency at one batch size, None where it was not measured."""
        return next((row for row in self.latency if row.batch == batch), None)

    def memory_at(self, batch: int) -> int | None:
        """Peak bytes at one batch size, None where it was not measured."""
        return next((row.peak_bytes for row in self.memory if row.batch == batch), None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {name: [asdict(row) for row in rows] for name, rows in (("latency", self.latency), ("memory", self.memory))}

    @staticmethod
    def from_dict(row: Mapping[str, Any], source: str = "measurement") -> Measurement:
        """Read what `to_dict` gave; `source` names it in errors.

        Raises:
            StorageError: fields missing. Unknown ones are passed over.
        """
        try:
            known = {name: value for name, value in _today(row).items() if name in _FIELDS}
            known |= {"latency": tuple(Latency(**each) for each in row["latency"])}
            known |= {"memory": tuple(Memory(**each) for each in row.get("memory", ()))}
            return Measurement(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{source}: not a measurement ({error}); measure the model again.") from error


_FIELDS = {field.name for field in fields(Measurement)}


def _today(row: Mapping[str, Any]) -> dict[str, Any]:
    """Files from before there was any task but classification call the metric `top1`."""
    old = {"metric": "top1" if row["top1"] is not None else "", "quality": row["top1"]} if "top1" in row else {}
    return old | ({"images": row["top1_images"]} if "top1_images" in row else {}) | dict(row)
