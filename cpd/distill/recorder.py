"""What the training loop tells the world, and what it asks of it. The run's worker and the tests implement it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Recorder(Protocol):
    """Steps count optimizer steps done; 0 is the state before the first."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of a step. A replay after a resume logs the same steps again: overwrite, do not append."""
        ...

    def event(self, step: int, kind: str, text: str, **data: Any) -> None:
        """Something happened: "cut", "undo", "eval", "note", "stop", "finish"."""
        ...

    def progress(self, step: int, total: int) -> None: ...

    def should_stop(self) -> bool:
        """Asked before every step: save and return?"""
        ...

    def save(self, state: Any, step: int, note: Mapping[str, Any] | None = None) -> None:
        """Keep a checkpoint: nested dicts and lists of tensors, numbers and text, to be restored exactly. One with a
        note is a place to go back to, and is not dropped for newer ones."""
        ...

    def load(self) -> Any | None:
        """The last checkpoint, None at the beginning."""
        ...


class Silent:
    """A recorder that keeps nothing and never stops: a notebook's or a benchmark's."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        return

    def event(self, step: int, kind: str, text: str, **data: Any) -> None:
        return

    def progress(self, step: int, total: int) -> None:
        return

    def should_stop(self) -> bool:
        return False

    def save(self, state: Any, step: int, note: Mapping[str, Any] | None = None) -> None:
        return

    def load(self) -> Any | None:
        return None
