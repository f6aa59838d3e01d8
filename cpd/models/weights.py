"""Weights from a file into a module: safetensors and state dicts, never a pickled object; every difference is named."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cpd.errors import ModelError
from cpd.models.fit import Shapes, misfit, without_prefix
from cpd.models.wrapped import state_dict_in

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")


def load_weights(module: nn.Module, path: Path, spec: str) -> None:
    """Fill `module` with the tensors of `path`, all of them, in the module's own dtypes.

    Raises:
        ModelError: no such file, not a file of tensors, names or shapes that differ, values that are not finite.
    """
    fill(module, read_tensors(path), str(path), spec)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str, spec: str) -> None:
    """Copy `tensors` into `module` after checking names, shapes and values; nothing is copied when a check fails."""
    target = module.state_dict()
    tensors = without_prefix(tensors, target)
    wrong = misfit(source, spec, _shapes(tensors), _shapes(target))
    if wrong:
        raise ModelError(wrong)
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


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
