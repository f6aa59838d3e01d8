"""What a bundle's file says of itself, read and checked: it may be an upload from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from cpd.errors import CpdError, ModelError
from cpd.prune.plan import Plan

SCHEMA = 1
_LARGEST = 1 << 16  # of any number in the settings of a file that somebody else made
_MOST_LAYERS = 1 << 10  # where a number counts layers, and building them takes time
_LAYERS = ("depth", "layer", "block", "repeat", "stage")
_LARGEST_IMAGE = 1 << 12
_MEMORY_SHARE = 0.5  # of the free memory that a dense architecture may take
_MOST_SETTINGS = 64
# What the libraries' builders would fetch or open; a bundle's own tensors replace all of it.
_FETCHES = ("checkpoint_path", "cache_dir", "encoder_weights", "model_dir")


@dataclass(frozen=True)
class Header:
    """What a bundle says of itself: the dense architecture, and the plan that cut it (None: not cut)."""

    spec: str
    settings: Mapping[str, Any]
    plan: Plan | None
    version: str


def read_header(file: Path) -> Header | None:
    """What a safetensors file says of itself, every part checked; None where no bundle wrote it.

    Raises:
        ModelError: damaged, of another schema, or made to do harm.
    """
    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get("cpd")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: is damaged or not a safetensors file ({str(error)[:160]}).") from error
    return None if text is None else check_head(text, file)


def check_head(text: str, file: Path) -> Header:
    """The header's entry "cpd", every part checked; `file` is for errors.

    Raises:
        ModelError: damaged, of another schema, or made to do harm.
    """
    try:
        head = json.loads(text)
        schema, spec, settings, plan = head["schema"], head["spec"], head["settings"], head["plan"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: its header is damaged ({type(error).__name__}: {error}).") from error
    if schema != SCHEMA:
        raise ModelError(
            f"{file}: has bundle schema {schema!r}, this version reads {SCHEMA}; write it again with this version."
        )
    if not isinstance(spec, str) or not isinstance(settings, dict):
        raise ModelError(f"{file}: its header names no architecture.")
    _check_settings(settings, file)
    try:
        read = None if plan is None else Plan.from_json(json.dumps(plan), f"{file}")
    except (CpdError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file}: its plan is damaged ({error}).") from error
    return Header(spec, settings, read, str(head.get("version", "")))


def fetches(key: str) -> bool:
    """Whether a setting names weights to fetch or open, and so says nothing of the architecture."""
    return key in _FETCHES or key.startswith("pretrained")


def _check_settings(settings: Mapping[str, Any], file: Path) -> None:
    """Plain and modest values only, and nothing that a library's builder would fetch, open or run."""
    if len(settings) > _MOST_SETTINGS:
        raise ModelError(f"{file}: its header has {len(settings)} settings; no architecture takes so many.")
    for key, value in settings.items():
        values = value if isinstance(value, list) else [value]
        most = (
            _LARGEST_IMAGE if key == "img_size" else _MOST_LAYERS if any(word in key for word in _LAYERS) else _LARGEST
        )
        plain = len(values) <= _MOST_SETTINGS and all(_is_modest(v, most) for v in values)
        if not plain or fetches(key):
            raise ModelError(f"{file}: its header sets {key[:40]!r}, which no bundle of ours does; it is not opened.")


def _is_modest(value: Any, most: int) -> bool:
    if isinstance(value, str):
        return len(value) <= 64
    return value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and abs(value) <= most)


def check_size(head: Header, file: Path) -> None:
    """Refuse an architecture that does not fit this machine, before any of it is made.

    Raises:
        ModelError: with what it would take.
    """
    import psutil
    import torch

    from cpd.models.load import build

    try:
        with torch.device("meta"):  # shapes without numbers
            module, _ = build(head.spec, dict(head.settings))
    except (ModelError, NotImplementedError):
        return  # it computes while it is built, or cannot be built at all: building it for real tells which
    size = sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
    free = psutil.virtual_memory().available
    if size > free * _MEMORY_SHARE:
        raise ModelError(
            f"{file}: is cut from a model of {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are free."
        )
