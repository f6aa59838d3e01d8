"""Second order: the diagonal of the Hessian, estimated by Hutchinson's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import relu6
from torch.overrides import TorchFunctionMode

from cpd.errors import PlanError
from cpd.importance.criterion import Criterion, Totals

PROBES = 2  # a batch; the estimate averages over the probes of all batches


class Hessian(Criterion):
    """Second-order change of the loss if the unit's weights were set to zero: |sum of w^2 H_ii / 2|.

    H_ii is the second derivative of the mean loss in weight i; the sum runs over all of the unit's weights in all
    slices. H belongs to the loss over all the data, so it is averaged with its sign over batches and probes, and only
    then the absolute value is taken: the estimate of a single probe is mostly noise, whose size would be counted.
    Source: LeCun et al. 1990, "Optimal Brain Damage", equation 5, for single weights; the sum over what leaves with a
    unit is ours. The diagonal as in `diagonal` below.
    """

    name = "hessian"
    title = "Hessian diagonal"
    needs_data = True

    def quantity(self, weight: Tensor, gradient: Tensor | None) -> Tensor:
        assert gradient is not None
        return weight.square() * gradient / 2

    def finish(self, totals: Tensor, about: Totals) -> Tensor:
        return totals.abs() / about.batches


def diagonal(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    loss: Callable[[Any, Tensor], Tensor],
    generator: Generator,
    probes: int = PROBES,
) -> dict[str, Tensor]:
    """An unbiased estimate of the Hessian's diagonal for every parameter that the batch's loss depends on.

    E[z * (H z)] = diag(H) for independent signs z (Rademacher). H z is the derivative of the gradient along z, a second
    backward pass; the estimate is exact where H is diagonal, and its variance is the sum of the squared off-diagonal
    entries of each row. Parameters need `requires_grad`.
    Raises:
        PlanError: an operator has no second derivative in torch.
    Source: Hutchinson 1990; Bekas et al. 2007 for the diagonal; Yao et al. 2021, arXiv:2006.00719, for networks.
    """
    parameters = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    device = next(iter(parameters.values())).device
    try:
        # The fused attention kernels have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _TwiceDifferentiable():
            value = loss(model(images.to(device)), targets.to(device))
            found = torch.autograd.grad(value, list(parameters.values()), create_graph=True, allow_unused=True)
            first = {name: g for name, g in zip(parameters, found, strict=True) if g is not None and g.requires_grad}
            inputs = [parameters[name] for name in first]
            result = {name: torch.zeros_like(g) for name, g in first.items()}
            for _ in range(probes if first else 0):
                signs = [_signs(g, generator) for g in first.values()]
                along = torch.autograd.grad(list(first.values()), inputs, signs, retain_graph=True, allow_unused=True)
                for name, z, hz in zip(first, signs, along, strict=True):
                    if hz is not None:
                        result[name] += z * hz / probes
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise PlanError(
            f"hessian: torch has no second {str(error).splitlines()[0]}; choose another criterion."
        ) from error
    return {name: value.detach() for name, value in result.items()}


def _signs(like: Tensor, generator: Generator) -> Tensor:
    bits = torch.randint(0, 2, like.shape, generator=generator)  # drawn on the CPU: the same on every device
    return (2 * bits - 1).to(like.device, like.dtype)


class _TwiceDifferentiable(TorchFunctionMode):
    """Computes hard sigmoids, alone among torch's activations without a second derivative (2.13), by operators that
    have one: relu6(x + 3) / 6, which is their definition."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if not name.startswith("hardsigmoid"):
            return func(*args, **kwargs)
        x: Tensor = args[0] if args else kwargs["input"]
        value = relu6(x + 3) / 6
        in_place = name.startswith("hardsigmoid_") or kwargs.get("inplace", len(args) > 1 and args[1])
        return x.copy_(value) if in_place else value
