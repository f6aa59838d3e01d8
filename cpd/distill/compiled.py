"""Networks in training as compiled code (torch.compile): made anew for the module that every cut leaves.

Compiling takes far longer than a step, so it pays where cuts are few and steps are many. What is evaluated, timed, saved
and handed over is the module itself, whose parameters the compiled code works on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cpd.errors import RunError
from cpd.measure.machine import no_compiler


def check_compiler(device: torch.device) -> None:
    """Compile next to nothing, forwards and backwards, before a run relies on it.

    Raises:
        RunError: it does not work here.
    """
    x = torch.ones(4, device=device, requires_grad=True)
    try:
        torch.compile(_probe, dynamic=False)(x).backward()
    except Exception as error:  # whatever inductor and the compilers below it raise
        raise RunError(no_compiler(device.type, _line(error))) from error


def compiled(module: nn.Module) -> Callable[..., Tensor]:
    """Calls the module as compiled code, one kernel graph a shape.

    Raises, when it is called first:
        RunError: the compiler cannot take this network.
    """
    from torch._dynamo.exc import TorchDynamoException

    fast = torch.compile(module, dynamic=False)

    def call(*inputs: Any) -> Tensor:
        try:
            outputs: Tensor = fast(*inputs)
        except TorchDynamoException as error:
            raise RunError(f"compile does not work with this network, turn it off ({_line(error)}).") from error
        return outputs

    return call


def _probe(x: Tensor) -> Tensor:
    return (x * 2 + 1).relu().sum()


def _line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].replace(os.sep * 2, os.sep)[:200].rstrip(".:")
