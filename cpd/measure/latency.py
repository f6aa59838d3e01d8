"""Wall time of a forward pass: warmed up, synchronised, the median of many, several models in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cpd.measure.measurement import Latency

_WARM_UP = 3  # passes at the least: the first ones allocate, choose kernels and fill caches
_FEWEST, _MOST = 5, 500  # timed passes; a median of fewer says little, of more nothing new


def latency(
    module: nn.Module, inputs: tuple[Tensor, ...], batch: int, device: torch.device | None = None, seconds: float = 2.0
) -> Latency:
    """Latency of one model at one batch size; see `latencies`."""
    return latencies({"": module}, inputs, batch, device, seconds)[""]


def latencies(
    modules: Mapping[str, nn.Module],
    inputs: tuple[Tensor, ...],
    batch: int,
    device: torch.device | None = None,
    seconds: float = 2.0,
) -> dict[str, Latency]:
    """Time models on the same batch, one pass of each in turn, so that a busy moment falls on all of them.

    The models run in eval mode, without gradients, where they are; their mode is put back.

    Args:
        inputs: example inputs, repeated to `batch` samples and moved to `device`.
        device: of the models; None for the CPU.
        seconds: about how long the timed passes of each model take; slow models get fewer, 5 at the least.
    """
    device = device or torch.device("cpu")
    sample = batch_of(inputs, batch, device)
    times: dict[str, list[float]] = {name: [] for name in modules}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for module in modules.values():
            stack.enter_context(evaluating(module))
        for module in modules.values():
            for _ in range(_WARM_UP):
                pass_ms(module, sample, device)
        deadline = time.perf_counter() + seconds * len(modules)
        rounds = 0
        while rounds < _FEWEST or (rounds < _MOST and time.perf_counter() < deadline):
            # Turn by turn from either end: whoever runs after a slow neighbour does so half of the time only.
            order = list(modules.items()) if rounds % 2 == 0 else list(modules.items())[::-1]
            for name, module in order:
                times[name].append(pass_ms(module, sample, device))
            rounds += 1
    threads = torch.get_num_threads()
    return {name: _summary(batch, row, threads) for name, row in times.items()}


def batch_of(inputs: tuple[Tensor, ...], batch: int, device: torch.device) -> tuple[Tensor, ...]:
    """The first sample of every input, `batch` times."""
    return tuple(x[:1].repeat(batch, *[1] * (x.ndim - 1)).to(device) for x in inputs)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every submodule's own mode is put back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def pass_ms(
    run: Callable[..., Any],
    sample: tuple[Tensor, ...],
    device: torch.device,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Milliseconds of one `run(*sample)` on `device`, by the clock `now` (seconds)."""
    finish(device)
    start = now()
    run(*sample)
    finish(device)
    return (now() - start) * 1e3


def finish(device: torch.device) -> None:
    """Wait until `device` has done all that it was given; the processor has by then."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _summary(batch: int, times: list[float], threads: int) -> Latency:
    low, median, high = (round(float(v), 4) for v in np.percentile(times, [10, 50, 90]))
    return Latency(batch, median, low, high, len(times), threads)
