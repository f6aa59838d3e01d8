"""How many threads many small passes are best run on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cpd.measure.latency import evaluating


@contextmanager
def quickest(model: nn.Module, inputs: tuple[Any, ...], tries: int = 3) -> Iterator[int]:
    """Run the block on one thread or on as many as are set, whichever takes `model` through `inputs` faster now.

    Where others use the machine too, threads that wait for each other can make small operators ten times slower
    (measured: 83 s against 5 s for one examination).
    """
    before = torch.get_num_threads()
    spent = dict.fromkeys((before, 1), 0.0)
    try:
        with evaluating(model), torch.no_grad():
            model(*inputs)  # the first pass allocates
            for _ in range(tries):
                for count in spent:
                    torch.set_num_threads(count)
                    start = time.perf_counter()
                    model(*inputs)
                    spent[count] += time.perf_counter() - start
        best = min(spent, key=lambda count: (spent[count], count))
        torch.set_num_threads(best)
        yield best
    finally:
        torch.set_num_threads(before)
