"""Handed-over files opened again, each as a module that is called like the pruned model itself."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cpd.errors import ExportError


def open_form(form: str, folder: Path) -> nn.Module:
    """The network of `folder` as `form` hands it over: "loader", "onnx" or "pt2".

    Raises:
        ExportError: the file does not open.
    """
    try:
        return _OPENERS[form](folder)
    except Exception as error:  # foreign readers raise what they like
        raise ExportError(f"{folder / form}: does not open ({type(error).__name__}: {str(error)[:200]}).") from error


def _loader(folder: Path) -> nn.Module:
    module: nn.Module = runpy.run_path(str(folder / "load.py"))["load"](folder)
    return module


class _Program(nn.Module):
    """A torch.export program. Its own module refuses eval(), which timing calls; the mode was fixed when it was written."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._call = torch.export.load(file).module()

    def train(self, mode: bool = True) -> _Program:
        self.training = mode
        return self

    def forward(self, *inputs: Tensor) -> Any:
        return self._call(*inputs)


class Session(nn.Module):
    """An ONNX file in ONNX Runtime on the CPU, with as many threads as torch has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_inputs()]

    def forward(self, *inputs: Tensor) -> Any:
        """Outputs in the order in which the file names them: one tensor, or a tuple."""
        feed = {name: x.detach().cpu().numpy() for name, x in zip(self._names, inputs, strict=True)}
        found = tuple(torch.from_numpy(value) for value in self._session.run(None, feed))
        return found[0] if len(found) == 1 else found


_OPENERS: dict[str, Callable[[Path], nn.Module]] = {
    "loader": _loader,
    "onnx": lambda folder: Session(folder / "model.onnx"),
    "pt2": lambda folder: _Program(folder / "model.pt2"),
}
