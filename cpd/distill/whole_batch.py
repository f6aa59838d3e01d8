"""Batch norm over all of a batch that several processes share: its statistics are those that one process would take.

torch's SyncBatchNorm is a module and for GPUs; the student is a graph of operators, on any device. So the operator is
caught where it is called.

Source: Ioffe & Szegedy 2015, arXiv:1502.03167, over the union of the parts; means and variances of equal parts combine as
mean = E[mean_i], var = E[var_i] + Var[mean_i] (law of total variance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_OPERATORS = (torch.batch_norm, torch.ops.aten.batch_norm.default)


class WholeBatch(TorchFunctionMode):
    """Inside, batch norm in training counts the images of every process. All must show equally many."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[Any],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        if function in _OPERATORS or function is F.batch_norm:
            norm = _normed if function in _OPERATORS else _functional
            found = norm(*arguments, **named)
            if found is not None:
                return found
        return function(*arguments, **named)


def _functional(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    return _normed(input, weight, bias, running_mean, running_var, training, momentum, eps)


def _normed(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor | None:
    """(B, C, ...) normalised; None where this is not training, and the operator itself will do."""
    if not training:
        return None
    axes = [0, *range(2, input.dim())]
    column = [1, -1] + [1] * (input.dim() - 2)
    x = input if input.dtype == torch.float64 else input.float()
    own_var, own_mean = torch.var_mean(x, axes, correction=0)
    parts: Tensor = _Parts.apply(torch.stack([own_mean, own_var]))  # (processes, 2, C)
    mean = parts[:, 0].mean(0)
    var = parts[:, 1].mean(0) + (parts[:, 0] - mean).square().mean(0)
    y = (x - mean.view(column)) * torch.rsqrt(var + eps).view(column)
    if weight is not None:
        y = y * weight.view(column)
    if bias is not None:
        y = y + bias.view(column)
    if running_mean is not None and running_var is not None:
        seen = len(parts) * x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (seen / max(1, seen - 1))).to(running_var.dtype), momentum)
    return y.to(input.dtype)


class _Parts(torch.autograd.Function):
    """What every process has, stacked; the gradient of one's own comes back from all of them."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, own.contiguous())
        return torch.stack(rows)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch declares any number
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total[dist.get_rank()]
