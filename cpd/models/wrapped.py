"""A state dict where training scripts put it: alone, or in a checkpoint beside epochs and optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cpd.errors import ModelError

_WRAPPERS = ("state_dict", "model_state_dict", "model")
T = TypeVar("T")


def state_dict_in(loaded: Any, tensor: type[T], path: Path) -> dict[str, T]:
    """The named tensors of what a file holds; `tensor` is the type that they have.

    Raises:
        ModelError: it holds anything else.
    """
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ModelError(f"{path}: holds {type(loaded).__name__}, not a state dict.")
    strange = [name for name, value in loaded.items() if not isinstance(name, str) or not isinstance(value, tensor)]
    if strange:
        raise ModelError(
            f"{path}: {strange[0]!r} is no tensor; save model.state_dict() alone, or as {{'state_dict': ...}}."
        )
    return dict(loaded)
