"""Latency of several cut networks beside the dense one, by turns, as ratios: what drifts, drifts for all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from cpd.measure.latency import batch_of, evaluating, pass_ms
from cpd.sensitivity.interval import FloatArray, median_interval

_WARM_UP = 1  # the first pass allocates, chooses kernels and fills caches
_FEWEST, _MOST = 5, 200  # rounds; of five, the least and the most enclose the median with 94 %
_NARROW = 0.01  # rounds end once every interval is within this share of its ratio


@dataclass(frozen=True)
class Ratio:
    """Time of a network over that of the dense one: median and 90 % interval over the rounds."""

    low: float
    median: float
    high: float


def ratios(
    dense: nn.Module,
    networks: Mapping[int, nn.Module],
    inputs: tuple[Tensor, ...],
    batch: int,
    device: torch.device,
    seconds: float,
) -> tuple[dict[int, Ratio], float]:
    """Time every network once a round, in turn from either end, the dense one first or last.

    Args:
        inputs: example inputs, repeated to `batch` samples and moved to `device`, where the networks are.
        seconds: about how long the timed passes of each network take at the most; 5 rounds at the least.
    Returns:
        Ratios by the key of `networks`, and the median time of the dense one in milliseconds.
    """
    sample = batch_of(inputs, batch, device)
    order: list[tuple[int | None, nn.Module]] = [(None, dense), *networks.items()]
    times: dict[int | None, list[float]] = {name: [] for name, _ in order}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for _, network in order:
            stack.enter_context(evaluating(network))
            for _ in range(_WARM_UP):
                pass_ms(network, sample, device)
        deadline = time.perf_counter() + seconds * len(order)
        rounds = 0
        found: dict[int, Ratio] = {}
        while rounds < _FEWEST or (rounds < _MOST and not _settled(found) and time.perf_counter() < deadline):
            for name, network in order if rounds % 2 == 0 else order[::-1]:
                times[name].append(pass_ms(network, sample, device))
            rounds += 1
            if rounds >= _FEWEST:
                found = {name: _ratio(times[name], times[None]) for name in networks}
    return found, float(np.median(times[None]))


def shapes_key(network: GraphModule, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Names the work that a network does: every operator with the shapes and constants that it reads, how often.

    Two networks with one key (the same cut in either of two equal blocks) run the same kernels on the same shapes.
    """
    recorder = _Shapes(network)
    with torch.no_grad(), evaluating(network):
        recorder.run(*inputs)
    return tuple(sorted(recorder.seen.items()))


class _Shapes(Interpreter):
    def __init__(self, network: GraphModule) -> None:
        super().__init__(network)
        self.seen: Counter[str] = Counter()

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function":
            arguments, named = self.fetch_args_kwargs_from_env(n)
            self.seen[f"{n.target} {_described(arguments)} {_described(named)}"] += 1
        return super().run_node(n)


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _described(item) for name, item in value.items()}
    return value


def _settled(found: Mapping[int, Ratio]) -> bool:
    return all(r.high - r.median < _NARROW * r.median > r.median - r.low for r in found.values())


def _ratio(times: list[float], dense: list[float]) -> Ratio:
    values: FloatArray = np.asarray(times, np.float64) / np.asarray(dense, np.float64)
    return Ratio(*median_interval(values))
