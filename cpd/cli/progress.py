"""A bar on stderr for what takes more than a second; lines, now and then, where stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_PATIENCE_S = 1.0
_LINE_S = 10.0
_WIDTH = 24


class Bar:
    """`with Bar("scoring") as bar: ... bar(done, total)`."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._last = 0.0
        self._drawn = False
        self.note = ""  # shown behind the bar, e.g. the latest accuracy

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        spent = now - self._start
        every = 0.1 if self._live else _LINE_S
        if spent < _PATIENCE_S or (now - self._last < every and done < total):
            return
        if not self._live and done >= total and not self._drawn:
            return
        self._last = now
        self._drawn = True
        part = done / total if total else 0.0
        left = f", {_clock(spent / part - spent)} left" if 0 < part < 1 else ""
        text = f"{self._what} {done}/{total}, {_clock(spent)}{left}{'  ' + self.note if self.note else ''}"
        if self._live:
            filled = int(part * _WIDTH)
            self._stream.write(f"\r\x1b[K[{'#' * filled}{'.' * (_WIDTH - filled)}] {text}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._live and self._drawn:
            self._stream.write("\r\x1b[K")
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._live and self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._drawn = False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
