"""What a run does, as names and numbers: enough to do it again anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cpd.errors import RunError
from cpd.runs.workspace import check_id

SCHEMA = 1
KINDS = ("comb", "doctor", "score", "measure", "train", "distill", "profile", "trial", "attribute", "export", "sense", "share")
TRAINED = ("train", "distill")  # of these, those whose options are training settings

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")  # a module name, nothing that could lead out of a package
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?|xpu(:\d+)?")


@dataclass(frozen=True)
class RunSpec:
    """One piece of background work.

    Attributes:
        kind: job that does it: one of KINDS, or a module of a package named in CPD_JOBS.
        project: id of the project whose folder receives the result, "" for none (the run's own folder does).
        model: SPEC of the model, e.g. "timm:resnet18".
        weights: path of the weights, "" for none.
        settings: arguments of the model's constructor.
        data: data set, e.g. "digits".
        device: "cpu", "cuda", "cuda:1", "auto", ...
        seed: of every random choice in the run.
        options: what else the kind understands.
    """

    kind: str
    project: str = ""
    model: str = ""
    weights: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    device: str = "cpu"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise RunError(f"run specification: schema {self.schema}, this version reads {SCHEMA}.")
        if not isinstance(self.kind, str) or not _KIND.fullmatch(self.kind):
            raise RunError(f"run specification: kind {self.kind!r} is not a job; known are {', '.join(KINDS)}.")
        if self.project:
            check_id(self.project, "project")
        for name in ("model", "weights", "data"):
            if not isinstance(getattr(self, name), str):
                raise RunError(f"run specification: {name} must be text, got {getattr(self, name)!r}.")
        if not isinstance(self.device, str) or not _DEVICE.fullmatch(self.device):
            raise RunError(f"run specification: device {self.device!r} is unknown; use cpu, cuda, cuda:N, mps or auto.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise RunError(f"run specification: seed {self.seed!r} must be a whole number, 0 or more.")
        for name in ("settings", "options"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise RunError(f"run specification: {name} must be names and values, got {type(value).__name__}.")
            try:
                json.dumps(dict(value), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise RunError(f"run specification: {name} cannot be saved as JSON ({error}).") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        row: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return row

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @staticmethod
    def from_dict(row: Any, source: str = "run specification") -> RunSpec:
        """Raises RunError naming what does not fit."""
        if not isinstance(row, dict) or "kind" not in row:
            raise RunError(f"{source}: not a run specification: it has no kind.")
        unknown = sorted(set(row) - {f.name for f in fields(RunSpec)})
        if unknown:
            raise RunError(f"{source}: unknown fields {', '.join(unknown)}; it was written by another version.")
        return RunSpec(**row)

    @staticmethod
    def from_json(text: str, source: str = "run specification") -> RunSpec:
        try:
            row = json.loads(text)
        except ValueError as error:
            raise RunError(f"{source}: not JSON ({error}).") from error
        return RunSpec.from_dict(row, source)

    def anchored(self, folder: Path) -> RunSpec:
        """The same work with paths that do not depend on where the worker starts; `folder` is what they were meant
        from. Only names that exist as files are touched: "timm:resnet18" and "digits" stay."""

        def anchor(text: str) -> str:
            for mark in (":", ""):  # FILE.py:FACTORY and imagefolder:DIR, then a plain path
                head, colon, tail = text.partition(mark) if mark else (text, "", "")
                if head and (folder / head).exists() and (not mark or head.endswith(".py")):
                    return str((folder / head).resolve()) + colon + tail
                if colon and tail and (folder / tail).exists():
                    return f"{head}{colon}{(folder / tail).resolve()}"
            return text

        weights = anchor(self.weights) if self.weights else ""
        named = {name: anchor(self.options[name]) for name in ("teacher", "teacher_weights") if self.options.get(name)}
        options = {**self.options, **named}
        return replace(self, model=anchor(self.model), weights=weights, data=anchor(self.data), options=options)
