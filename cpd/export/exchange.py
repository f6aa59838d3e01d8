"""Files for other programs: ONNX and torch.export's .pt2, both for any batch size."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cpd.errors import ExportError

OPSET = 18  # onnxruntime since 1.14 reads it


def write_pt2(module: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    """A program for `torch.export.load(file).module()`; it keeps the mode, eval.

    Raises:
        ExportError: in torch's own words.
    """
    with _quiet():
        try:
            program = torch.export.export(module, inputs, dynamic_shapes=_any_batch(inputs), strict=False)
            torch.export.save(program, file)
        except Exception as error:  # torch raises whatever its passes raise
            raise ExportError(
                f"{file.name}: torch.export does not take this network ({_first_line(error)})."
            ) from error


def write_onnx(module: nn.Module, inputs: tuple[Tensor, ...], file: Path, about: Mapping[str, str]) -> None:
    """An ONNX file with a free batch axis, checked by onnx itself; outputs are called output, or output_0, output_1, ...

    Args:
        about: written into the file's metadata, e.g. the normalisation of its inputs.
    Raises:
        ExportError: a package is missing, or the exporter's own words.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch's exporter needs it and says so less clearly
    except ImportError as error:
        raise ExportError(
            f"{file.name}: needs the package {error.name}; install it with pip install {error.name}."
        ) from error
    with torch.inference_mode():
        count = len(pytree.tree_leaves(module(*inputs)))
    names = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                dynamic_shapes=_any_batch(inputs),
                output_names=names,
                opset_version=OPSET,
                verbose=False,
            )
            assert program is not None
            program.model.metadata_props.update(about)
            program.save(str(file))
            onnx.checker.check_model(str(file), full_check=True)
        except Exception as error:  # the exporter raises whatever its passes raise
            raise ExportError(f"{file.name}: cannot be written as ONNX ({_first_line(error)}).") from error


def _any_batch(inputs: tuple[Tensor, ...]) -> tuple[dict[int, Any] | None, ...]:
    return tuple({0: torch.export.Dim.DYNAMIC} if x.ndim else None for x in inputs)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk of their own affairs; what fails is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
