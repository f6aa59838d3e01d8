"""How much memory a forward pass takes: what torch's own allocator gave out at the fullest moment, beside the weights."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from cpd.measure.latency import evaluating


def peak_memory(module: nn.Module, inputs: tuple[Tensor, ...], batch: int, device: torch.device) -> int:
    """Bytes of weights and buffers, of `batch` samples, and of everything that lives at the fullest moment of a pass.

    Measured, not derived from shapes: on a CPU every allocation and release of the pass is recorded by torch's profiler
    and summed in the order of time; on CUDA the allocator keeps the peak itself. What libraries take beside torch's
    allocator (scratch buffers of oneDNN, the program itself) is not in it. `module` is on `device`.
    """
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (*module.parameters(), *module.buffers())}
    samples = tuple(_repeated(x, batch).to(device) for x in inputs)
    given = sum(x.untyped_storage().nbytes() for x in samples)
    with torch.inference_mode(), evaluating(module):
        passing = _on_cuda(module, samples, device) if device.type == "cuda" else _on_cpu(module, samples)
    return sum(held.values()) + given + passing


def _repeated(x: Tensor, batch: int) -> Tensor:
    return x[:1].repeat(batch, *[1] * (x.ndim - 1))


def _on_cuda(module: nn.Module, samples: tuple[Tensor, ...], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    module(*samples)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _on_cpu(module: nn.Module, samples: tuple[Tensor, ...]) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would announce itself on the terminal
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        module(*samples)
    results = seen.profiler.kineto_results if seen.profiler is not None else None
    rows = [] if results is None else [row for row in results.events() if row.name() == "[memory]"]
    living = peak = 0
    for row in sorted(rows, key=lambda row: row.start_ns()):
        living += row.nbytes()
        peak = max(peak, living)
    return peak
