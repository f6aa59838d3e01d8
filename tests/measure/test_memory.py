"""Peak memory of a pass, against networks whose peak can be written down."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from cpd.measure import measure
from cpd.measure.measurement import Latency, Measurement, Memory
from cpd.measure.memory import peak_memory

CPU = torch.device("cpu")
WEIGHTS = 4 * (100 * 1000 + 1000 + 1000 * 10 + 10)


@pytest.mark.parametrize("batch", [1, 8])
def test_peak_by_hand(batch):
    """Beside the weights and the samples: the hidden layer twice, before and after its ReLU; or once, where it works in place."""
    x = (torch.zeros(2, 100),)
    for in_place, copies in ((False, 2), (True, 1)):
        net = nn.Sequential(nn.Linear(100, 1000), nn.ReLU(in_place), nn.Linear(1000, 10))
        by_hand = max(copies * 1000, 1000 + 10) * batch * 4
        assert peak_memory(net, x, batch, CPU) == WEIGHTS + 100 * batch * 4 + by_hand


def test_shared_weights_count_once_and_nothing_is_left_behind():
    layer = nn.Linear(64, 64, bias=False)
    net = nn.Sequential(layer, layer).train()
    first = peak_memory(net, (torch.zeros(1, 64),), 4, CPU)
    assert first == 4 * 64 * 64 + 4 * 4 * 64 + 2 * 4 * 4 * 64
    assert peak_memory(net, (torch.zeros(1, 64),), 4, CPU) == first
    assert net.training


def test_a_measurement_carries_it_and_reads_what_has_none():
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    found = measure(net, (torch.zeros(2, 8),), None, batches=(1, 4), seconds=0.01)
    assert [row.batch for row in found.memory] == [1, 4]
    assert found.memory_at(4) == peak_memory(net, (torch.zeros(2, 8),), 4, CPU)
    row = json.loads(json.dumps(found.to_dict()))
    assert Measurement.from_dict(row) == found
    del row["memory"]
    old = Measurement.from_dict(row)
    assert (old.memory, old.memory_at(4)) == ((), None)
    assert Measurement(1, 1.0, "", None, 0, (Latency(1, 1.0, 1.0, 1.0, 1, 1),), "cpu", "", "", memory=(Memory(1, 5),)).memory_at(1) == 5
