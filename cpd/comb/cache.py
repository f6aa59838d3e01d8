"""Traces that were made before: the slow part of combing, kept by a digest of the architecture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from cpd.comb.trace import Trace, trace
from cpd.comb.trace_file import read_trace, trace_key, write_trace
from cpd.errors import StorageError
from cpd.files import make_folder

MOST_FILES = 200


def cache_folder() -> Path:
    """CPD_CACHE, else the user's cache folder (XDG base directory specification)."""
    own = os.environ.get("CPD_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cpd-studio" / "traces"


def cached_trace(model: nn.Module, inputs: tuple[Any, ...], timeout_s: float, folder: Path | None = None) -> Trace:
    """The trace of `model`, from the cache where the same architecture was traced before.

    A cache that cannot be read or written costs time and nothing else.
    """
    folder = cache_folder() if folder is None else folder
    try:
        path = folder / f"{trace_key(model, inputs)}.safetensors"
    except (TypeError, ValueError, OSError, RecursionError):
        return trace(model, inputs, timeout_s)
    known = read_trace(path, model)
    if known is not None:
        return known
    made = trace(model, inputs, timeout_s)
    try:
        make_folder(folder)
        write_trace(path, made)
        _forget_oldest(folder)
    except (OSError, StorageError, TypeError, ValueError, NotImplementedError):
        pass  # no cache: the next comb traces again
    return made


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)
