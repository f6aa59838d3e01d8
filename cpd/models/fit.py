"""Whether weights fit a model, by the names and shapes of their tensors alone. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Shapes = Mapping[str, tuple[int, ...]]
T = TypeVar("T")

_PREFIXES = ("module.", "_orig_mod.", "model.")  # what DataParallel, torch.compile and Lightning put before names
_OPTIONAL = "num_batches_tracked"  # a counter that checkpoints from before torch 0.4.1 lack; nothing in eval reads it


def without_prefix(tensors: Mapping[str, T], target: Mapping[str, object]) -> Mapping[str, T]:
    """Names as the model has them, where a wrapper put something before all of them."""
    for prefix in _PREFIXES:
        mine, theirs = (all(name.startswith(prefix) for name in names) for names in (tensors, target))
        if mine and not theirs:
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def misfit(source: str, spec: str, given: Shapes, target: Shapes) -> str:
    """What keeps the tensors `given` from filling the model, in one line; "" where nothing does.

    Args:
        source, spec: what the weights and the model are called.
        given: with the model's own names, see `without_prefix`.
        target: the model's.
    """
    missing = [name for name in target if name not in given and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in given if name not in target]
    reshaped = [name for name in target if name in given and given[name] != target[name]]
    if not (missing or unexpected or reshaped):
        return ""
    shapes = [f"{n} is {_size(given[n])} in the file, {_size(target[n])} in the model" for n in reshaped]
    parts = [
        f"{len(missing)} of {len(target)} keys missing ({_few(missing)})" if missing else "",
        f"{len(unexpected)} unexpected ({_few(unexpected)})" if unexpected else "",
        f"{len(reshaped)} of another shape ({_few(shapes, 2, '; ')})" if reshaped else "",
    ]
    head = f"{source} does not fit {spec}: {', '.join(part for part in parts if part)}."
    # A head of another size is the usual case, and has a usual cure.
    owners = {name.rpartition(".")[0] for name in reshaped}
    if not missing and not unexpected and len(owners) == 1 and given[reshaped[0]]:
        return f"{head} If that is the classifier: --set num_classes={given[reshaped[0]][0]}."
    return f"{head} Name the architecture and settings that the weights were trained with."


def _few(names: Sequence[str], most: int = 3, comma: str = ", ") -> str:
    return comma.join(names[:most]) + (f"{comma}..." if len(names) > most else "")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
