"""The measurement behind a latency target: the student and the dense network, in turn, so that a busy moment falls on both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpd.distill.pace import Timing
from cpd.measure.latency import latencies


def time_beside(
    student: nn.Module, dense: nn.Module, inputs: tuple[Tensor, ...], device: torch.device, seconds: float
) -> Timing:
    """Passes at batch 1 for about `seconds` of each, five at the least."""
    rows = latencies({"dense": dense, "student": student}, inputs, 1, device, seconds)
    return Timing(rows["student"].median_ms, rows["dense"].median_ms, rows["student"].runs)
