"""Latency of several cut networks beside the dense one, by turns, as ratios: what drifts, drifts for all of them.

On a processor only the operators that a cut changes are timed, in the cut network and in the dense one: the rest of a
pass takes as long as before, and only adds its noise. Elsewhere operators overlap, and whole passes are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from cpd.measure.latency import batch_of, evaluating, pass_ms
from cpd.sensitivity.interval import FloatArray, median_interval
from cpd.sensitivity.part import Part, Work, alike, part, work
from cpd.sensitivity.walk import Walker

_FEWEST, _MOST = 5, 200  # rounds; of five, the least and the most enclose the median with 94 %
_NARROW = 0.01  # rounds end once every interval is within this share of its ratio
_WHOLE = 2  # a whole pass of the dense network every so many rounds: it only says how much the differences matter


@dataclass(frozen=True)
class Ratio:
    """Time of a network over that of the dense one: median and 90 % interval over the rounds."""

    low: float
    median: float
    high: float


class Stopwatch:
    """Times cut networks of one dense network.

    Args:
        inputs: example inputs, on the device; repeated to `batch` samples for timing.
        device: where all networks are.
    """

    def __init__(self, dense: GraphModule, inputs: tuple[Tensor, ...], batch: int, device: torch.device) -> None:
        self._dense, self._inputs, self._device = Walker(dense), inputs, device
        self._sample = batch_of(inputs, batch, device)
        self._work = work(dense, inputs)

    def work(self, network: GraphModule) -> Work:
        """What a network does: those that do the same, in whatever order, take equally long."""
        return work(network, self._inputs)

    def ratios(
        self, networks: Mapping[int, GraphModule], works: Mapping[int, Work], seconds: float
    ) -> tuple[dict[int, Ratio], float]:
        """Time every network once a round, in turn from either end, the dense one first or last.

        Args:
            networks, works: at least one, and what `work` says of each.
            seconds: about how long the timed passes of each network take at the most; 5 rounds at the least.
        Returns:
            Ratios by the key of `networks`, and the median time of a pass of the dense one in milliseconds.
        """
        walkers: dict[int | None, Walker] = {None: self._dense} | {k: Walker(n) for k, n in networks.items()}
        before = behind = 0
        if self._device.type == "cpu":
            ends = [alike(self._work, works[name]) for name in networks]
            before, behind = min(b for b, _ in ends), min(b for _, b in ends)
        times: dict[int | None, list[float]] = {name: [] for name in walkers}
        whole: list[float] = []
        found: dict[int, Ratio] = {}
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            for walker in walkers.values():
                stack.enter_context(evaluating(walker.module))
            runs = self._runs({name: part(walker, before, behind) for name, walker in walkers.items()})
            pass_ms(self._dense.module, self._sample, self._device)
            for run in runs.values():
                run()  # the first pass allocates, chooses kernels and fills caches
            deadline = time.perf_counter() + seconds * len(runs)
            rounds = 0
            while rounds < _FEWEST or (rounds < _MOST and not _settled(found) and time.perf_counter() < deadline):
                if rounds % _WHOLE == 0:
                    whole.append(pass_ms(self._dense.module, self._sample, self._device))
                for name, run in runs.items() if rounds % 2 == 0 else reversed(runs.items()):
                    times[name].append(run())
                rounds += 1
                if rounds >= _FEWEST:
                    found = {name: _ratio(times[name], times[None], whole) for name in networks}
        return found, float(np.median(whole))

    def _runs(self, parts: Mapping[int | None, Part]) -> dict[int | None, Callable[[], float]]:
        """Milliseconds of one pass of each part.

        What a part reads lies before the first difference, so the dense network's values have its shapes: all begin
        with those. What operators compute with does not matter to how long they take.
        """
        dense = self._dense
        wanted = {dense.nodes[at] for each in parts.values() for at in each.reads}
        end = max((dense.at[node] for node in wanted), default=-1) + 1
        given = dict(zip(dense.inputs, dense.module.graph.process_inputs(*self._sample), strict=True))
        operators = [node for node in dense.nodes[:end] if node.op == "call_function"]
        values = dense.run(operators, given, keep=wanted)

        def timer(each: Part) -> Callable[[], float]:
            reads = [values[dense.nodes[at]] for at in each.reads]
            return lambda: pass_ms(each.module, each.arguments(reads), self._device)

        return {name: timer(each) for name, each in parts.items()}


def _settled(found: Mapping[int, Ratio]) -> bool:
    return all(r.high - r.median < _NARROW * r.median > r.median - r.low for r in found.values())


def _ratio(times: list[float], dense: list[float], whole: list[float]) -> Ratio:
    """From the times of the parts, round by round, and some whole passes of the dense network."""
    differences: FloatArray = np.asarray(times, np.float64) - np.asarray(dense, np.float64)
    return Ratio(*median_interval(np.maximum(1 + differences / float(np.median(whole)), 0.0)))
