"""What a hand-over holds and what was found of it, as numbers that screens read; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cpd.errors import StorageError
from cpd.export import FORMATS
from cpd.measure.measurement import Latency

TOLERANCE = 1e-4  # of outputs, relative to the largest one; float32 in another order of sums gives about 1e-6
QUALITY_TOLERANCE = 1e-3  # of the metric: one answer in a thousand may tip over
SCHEMA = 1
TIMED = "timed only"  # the reason of a form that is no file


@dataclass(frozen=True)
class FormParity:
    """One handed-over form beside the pruned model, both on the same inputs.

    Attributes:
        form: "loader", "onnx", "pt2", or "compiled" (torch.compile of the pruned model; not a file).
        files: what it consists of, "" joined by spaces for a form without files.
        size_bytes: of those files.
        difference: largest absolute difference of any output.
        scale: largest absolute output of the pruned model.
        agree: share of answers (images or pixels) whose most likely class is the same; None for other outputs.
        quality: the metric of this form, None without data.
        latency: of this form as it was opened.
        verified: outputs within TOLERANCE and the metric within QUALITY_TOLERANCE.
        reason: why it is not, in words.
    """

    form: str
    files: tuple[str, ...]
    size_bytes: int
    difference: float | None
    scale: float | None
    agree: float | None
    quality: float | None
    latency: tuple[Latency, ...]
    verified: bool
    reason: str = ""

    @property
    def verdict(self) -> str:
        """ "yes", "no" with the reason, or that it was timed alone."""
        return "yes" if self.verified else TIMED if self.reason == TIMED else f"no: {self.reason}"


@dataclass(frozen=True)
class Handover:
    """A folder of files, and how each of its forms compares with the pruned model.

    Attributes:
        source: the run (or folder) that it was made from.
        metric: of `quality`, "" without data; `images` held-out images were used.
        inputs: "images" (held-out ones) or "random" (there were no data).
        quality: of the pruned model, eager.
        eager, dense: latency of the pruned and the dense model, timed in turn with the forms.
    """

    source: str
    model: str
    metric: str
    images: int
    inputs: str
    quality: float | None
    eager: tuple[Latency, ...]
    dense: tuple[Latency, ...]
    forms: tuple[FormParity, ...]
    machine: str
    torch: str
    created: str
    schema: int = SCHEMA

    @property
    def verified(self) -> bool:
        """Whether every form that was asked for as a file is there and gives the pruned model's answers."""
        asked = [form for form in self.forms if form.form in FORMATS]
        return bool(asked) and all(form.verified for form in asked)

    def to_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = asdict(self)
        return row | {"verified": self.verified}

    @staticmethod
    def from_dict(row: Mapping[str, Any], source: str) -> Handover:
        """Read what `to_dict` gave.

        Raises:
            StorageError: fields missing, or of another schema.
        """
        try:
            if row["schema"] != SCHEMA:
                raise StorageError(f"{source}: has schema {row['schema']}, this version reads {SCHEMA}; export again.")
            forms = tuple(
                FormParity(**{**each, "latency": _latency(each["latency"]), "files": tuple(each["files"])})
                for each in row["forms"]
            )
            fields = {key: value for key, value in row.items() if key != "verified"}
            return Handover(
                **{**fields, "forms": forms, "eager": _latency(row["eager"]), "dense": _latency(row["dense"])}
            )
        except (KeyError, TypeError) as error:
            raise StorageError(f"{source}: not a hand-over ({error}); export again.") from error


def _latency(rows: Any) -> tuple[Latency, ...]:
    return tuple(Latency(**each) for each in rows)
