"""Weights from a file into a module: safetensors and state dicts, never a pickled object; every difference is named."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cpd.errors import ModelError
from cpd.models.wrapped import state_dict_in

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # what DataParallel, torch.compile and Lightning put before names
_OPTIONAL = "num_batches_tracked"  # a counter that checkpoints from before torch 0.4.1 lack; nothing in eval reads it


def load_weights(module: nn.Module, path: Path, spec: str) -> None:
    """Fill `module` with the tensors of `path`, all of them, in the module's own dtypes.

    Raises:
        ModelError: no such file, not a file of tensors, names or shapes that differ, values that are not finite.
    """
    fill(module, read_tensors(path), str(path), spec)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str, spec: str) -> None:
    """Copy `tensors` into `module` after checking names, shapes and values; nothing is copied when a check fails."""
    target = module.state_dict()
    tensors = _without_prefix(tensors, target)
    missing = [name for name in target if name not in tensors and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in tensors if name not in target]
    reshaped = [name for name in target if name in tensors and tensors[name].shape != target[name].shape]
    if missing or unexpected or reshaped:
        raise ModelError(_difference(source, spec, missing, unexpected, reshaped, tensors, target))
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"{source}: {name} holds values that are not finite (NaN or infinity); the file is damaged or its training diverged."
            )
    module.load_state_dict(dict(tensors), strict=False)  # strict but for the counters, checked above


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state dict, on the CPU.

    Raises:
        ModelError: missing, unreadable, or anything but a file of named tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such weights file.")
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path}: weights come as {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        return state_dict_in(torch.load(path, map_location="cpu", weights_only=True), Tensor, path)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds pickled objects, which could run code, and is not loaded; save model.state_dict() instead."
        ) from error
    except (SafetensorError, OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, KeyError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path}: is damaged or not a weights file ({line[:160]}).") from error


def _without_prefix(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for prefix in _PREFIXES:
        mine, theirs = (all(name.startswith(prefix) for name in names) for names in (tensors, target))
        if mine and not theirs:
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _difference(
    source: str,
    spec: str,
    missing: Sequence[str],
    unexpected: Sequence[str],
    reshaped: Sequence[str],
    tensors: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
) -> str:
    shapes = [f"{n} is {_size(tensors[n])} in the file, {_size(target[n])} in the model" for n in reshaped]
    parts = [
        f"{len(missing)} of {len(target)} keys missing ({_few(missing)})" if missing else "",
        f"{len(unexpected)} unexpected ({_few(unexpected)})" if unexpected else "",
        f"{len(reshaped)} of another shape ({_few(shapes, 2, '; ')})" if reshaped else "",
    ]
    head = f"{source} does not fit {spec}: {', '.join(part for part in parts if part)}."
    # A head of another size is the usual case, and has a usual cure.
    owners = {name.rpartition(".")[0] for name in reshaped}
    if not missing and not unexpected and len(owners) == 1:
        return f"{head} If that is the classifier: --set num_classes={tensors[reshaped[0]].shape[0]}."
    return f"{head} Name the architecture and settings that the weights were trained with."


def _few(names: Sequence[str], most: int = 3, comma: str = ", ") -> str:
    return comma.join(names[:most]) + (f"{comma}..." if len(names) > most else "")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
