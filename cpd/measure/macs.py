"""Multiply-accumulates of one sample, by the comb's arithmetic or counted by torch in a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cpd.comb.record import CombRecord
from cpd.measure.latency import evaluating
from cpd.prune.cost import CostModel, Keep


def planned_macs(record: CombRecord, keep: Keep) -> float:
    """MACs of one sample for the network that keeps `keep` of the combed one."""
    return CostModel(record).price(keep).macs


def counted_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """MACs of one sample as torch counts them: convolutions, matrix products and attention (1 MAC = 2 FLOPs).

    The model runs once on `inputs` (batch, ...), where it is; its mode is put back.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), evaluating(module), counter:
        module(*inputs)
    return float(counter.get_total_flops()) / 2 / inputs[0].shape[0]
