"""Models from a user's own Python file: `path/to/file.py:NAME`, a function or a class."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cpd._torchvision  # noqa: F401  the user's file may import torchvision

from torch import Tensor, nn

from cpd.errors import ModelError
from cpd.models.example import as_batch, first_channels, image_batch, image_size

_EXAMPLE_ONLY = ("img_size", "in_chans")  # settings that shape the example where the factory does not take them


def build_factory(path: Path, name: str, settings: dict[str, Any]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Call `name` of the file with the settings; it returns a module, or (module, example inputs).

    The file is executed: only a path that the user gave himself may come here, never one read from a bundle.
    """
    spec = f"{path}:{name}"
    if not path.is_file():
        raise ModelError(f"{spec}: there is no file {path}.")
    with _importable_neighbours(path.resolve().parent):
        make = getattr(_execute(path), name, None)
        if not callable(make):
            raise ModelError(f"{spec}: {path.name} has no function or class called {name!r}.")
        made = _call(make, _accepted(make, settings, spec), spec, path)
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{spec}: returned {type(module).__name__}, not a torch.nn.Module or (module, example inputs)."
        )
    if example is not None:
        return module, as_batch(example, spec)
    height, width = image_size(settings.get("img_size", 224))
    inputs = image_batch(int(settings.get("in_chans", first_channels(module))), height, width)

    from cpd.models.load import check_runs

    check_runs(module.eval(), inputs, spec)
    return module, inputs


def _accepted(make: Callable[..., Any], settings: dict[str, Any], spec: str) -> dict[str, Any]:
    """The settings that the factory takes; the example's own are dropped where it does not."""
    parameters = inspect.signature(make).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return settings
    unknown = [key for key in settings if key not in parameters and key not in _EXAMPLE_ONLY]
    if unknown:
        raise ModelError(f"{spec}: takes no setting {', '.join(unknown)}; it takes {', '.join(parameters) or 'none'}.")
    return {key: value for key, value in settings.items() if key in parameters}


def _execute(path: Path) -> Any:
    # One name per path: dataclasses and pickle-free reloads look the module up in sys.modules.
    name = f"_cpd_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ModelError(f"{path}: cannot be imported as Python.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises is the user's to read
        del sys.modules[name]
        raise ModelError(f"{path}: fails on import{_place(error, path)}.") from error
    return module


def _call(make: Callable[..., Any], settings: dict[str, Any], spec: str, path: Path) -> Any:
    try:
        return make(**settings)
    except Exception as error:  # as above
        raise ModelError(f"{spec}: fails{_place(error, path)}.") from error


def _place(error: Exception, path: Path) -> str:
    """' in line 3 (ValueError: text)': the last line of the user's own file on the way to the error."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [error.lineno]
    text = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
    return (f" in line {lines[-1]}" if lines else "") + f" ({what})"


@contextmanager
def _importable_neighbours(folder: Path) -> Iterator[None]:
    """The folder on the import path while its file runs, as Python itself does for a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
