"""What was traced and combed before, kept by a digest of the architecture.

Two files a model: `KEY.trace`, whose key names everything that a trace depends on (`trace_key`), and `KEY.comb` with
the groups, whose key is the seal of the trace that was combed, the code that combs, and its settings. Groups depend on
nothing else: rules see the graph, the values of tables that are part of it, and of weights the shapes alone.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from cpd.comb.axes import Axes
from cpd.comb.comb_file import read_comb, write_comb
from cpd.comb.record import CombRecord
from cpd.comb.trace import Trace, trace
from cpd.comb.trace_file import read_trace, trace_key, write_trace
from cpd.errors import StorageError
from cpd.files import cache_folder, make_folder

MOST_FILES = 400

_UNWRITTEN = (OSError, StorageError, TypeError, ValueError, NotImplementedError)  # no cache: made again next time
_OURS = re.compile(r"[0-9a-f]{64}\.(trace|comb|safetensors|shapes)")


def cached_trace(model: nn.Module, inputs: tuple[Any, ...], timeout_s: float) -> tuple[Trace, str]:
    """The trace of `model`, from the cache where the same architecture was traced before.

    A cache that cannot be read or written costs time and nothing else.

    Returns:
        The trace, and the seal that names it in the cache; "" where it is not kept there.
    """
    try:
        path = cache_folder() / f"{trace_key(model, inputs)}.trace"
    except (TypeError, ValueError, OSError, RecursionError):
        return trace(model, inputs, timeout_s), ""
    known = read_trace(path, model)
    if known is not None:
        return known
    made = trace(model, inputs, timeout_s)
    try:
        make_folder(path.parent)
        seal = write_trace(path, made)
        _forget_oldest(path.parent)
    except _UNWRITTEN:
        seal = ""
    return made, seal


def cached_axes(seal: str, free_rows: bool, make: Callable[[], tuple[CombRecord, Axes]]) -> tuple[CombRecord, Axes]:
    """Groups and axes of the trace that `seal` names, made by `make` where they are not in the cache."""
    if not seal:
        return make()
    try:
        key = hashlib.sha256(f"{seal} {_combing_code()} {free_rows}".encode()).hexdigest()
    except OSError:
        return make()
    path = cache_folder() / f"{key}.comb"
    known = read_comb(path)
    if known is not None:
        return known
    record, axes = make()
    with suppress(*_UNWRITTEN):
        write_comb(path, record, axes)
    return record, axes


@functools.cache
def _combing_code() -> str:
    """Digest of the code that finds groups: of this whole package, so that no file of it can be forgotten."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _forget_oldest(folder: Path) -> None:
    files = [file for file in folder.iterdir() if _OURS.fullmatch(file.name)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime)[:-MOST_FILES]:
        file.unlink(missing_ok=True)
