"""timm's optimizers and schedulers, made from settings and counted in steps."""

from __future__ import annotations

import cpd._torchvision  # noqa: F401  before timm, which imports torchvision

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from cpd.comb.group import IntArray
from cpd.distill.settings import TrainSettings
from cpd.errors import RunError
from cpd.prune.index import Positions

Axes = tuple[IntArray | None, ...]


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer over the module's parameters; biases and norms do not decay.

    Raises:
        RunError: timm knows no optimizer of that name.
    """
    if settings.optimizer not in list_optimizers():
        raise RunError(f"timm knows no optimizer {settings.optimizer!r}; try adamw, sgd, lamb or lion.")
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        module, opt=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay
    )
    return optimizer


def make_scheduler(optimizer: torch.optim.Optimizer, settings: TrainSettings, total: int) -> Scheduler:
    """The learning rate as a function of the number of steps done; it keeps no other state.

    Raises:
        RunError: timm knows no scheduler of that name, or it waits for a metric.
    """
    warmup = round(total * settings.warmup)
    if settings.scheduler == "plateau":
        raise RunError(
            "scheduler plateau waits for a metric; choose one that follows the steps, e.g. cosine, linear, step."
        )
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=settings.scheduler,
            num_epochs=max(1, total - warmup),
            decay_epochs=max(1, total // 3),
            decay_milestones=[max(1, total // 2), max(1, total * 3 // 4)],
            min_lr=settings.lr * settings.least_lr,
            warmup_lr=settings.lr * 1e-3,
            warmup_epochs=warmup,
            warmup_prefix=warmup > 0,
            step_on_epochs=False,
            updates_per_epoch=1,
        )
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise RunError(f"timm knows no scheduler {settings.scheduler!r}; try cosine, linear, step or poly.") from error
    if scheduler is None:
        raise RunError(f"timm knows no scheduler {settings.scheduler!r}; try cosine, linear, step or poly.")
    return scheduler


def set_rate(optimizer: torch.optim.Optimizer, scheduler: Scheduler, step: int) -> float:
    """Put the rate of step number `step` (from 0) into the optimizer and return it."""
    scheduler.step_update(num_updates=step)
    return float(max(group["lr"] for group in optimizer.param_groups))


def take(tensor: Tensor, axes: Axes) -> Tensor:
    """The positions of `tensor` that live, axis by axis; a copy."""
    for axis, positions in enumerate(axes):
        if positions is not None:
            tensor = tensor.index_select(axis, torch.as_tensor(positions, device=tensor.device))
    return tensor.clone()


def cut_optimizer(
    old: torch.optim.Optimizer, before: nn.Module, new: torch.optim.Optimizer, after: nn.Module, positions: Positions
) -> None:
    """Fill `new` with the state of `old`, cut as the parameters were.

    Args:
        positions: where each tensor of `after` sits in the tensor of the same name in `before`.

    State of a parameter's shape is cut (momentum, exp_avg, exp_avg_sq); scalars are copied (step counts). Where an
    optimizer keeps other shapes (factored moments), that parameter starts afresh, because rows of a factored moment
    mean nothing once columns are gone.
    """
    sources = dict(before.named_parameters())
    for name, parameter in after.named_parameters():
        source = sources[name]
        state = old.state.get(source)
        if not state:
            continue
        axes = positions.get(name, (None,) * source.dim())
        shaped = [v for v in state.values() if isinstance(v, Tensor) and v.numel() > 1]
        if any(v.shape != source.shape for v in shaped):
            continue
        new.state[parameter] = {
            key: take(v, axes) if isinstance(v, Tensor) and v.shape == source.shape else _copy(v)
            for key, v in state.items()
        }


def named_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, dict[str, object]]:
    """The optimizer's state by parameter name, for a checkpoint."""
    named = ((name, optimizer.state.get(parameter)) for name, parameter in module.named_parameters())
    return {name: {key: _copy(value) for key, value in state.items()} for name, state in named if state}


def load_named_state(optimizer: torch.optim.Optimizer, module: nn.Module, state: dict[str, dict[str, object]]) -> None:
    """What `named_state` gave, put back."""
    for name, parameter in module.named_parameters():
        if name not in state:
            continue
        optimizer.state[parameter] = {
            # Step counts stay where the optimizer made them; everything of the parameter's shape follows its device.
            key: value.to(parameter.device) if isinstance(value, Tensor) and value.dim() else _copy(value)
            for key, value in state[name].items()
        }


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value
