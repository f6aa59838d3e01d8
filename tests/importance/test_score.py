"""Scores against hand formulas, a slow loop over units, finite differences, and a net that is already cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cpd.comb.record import CombRecord
from cpd.errors import DataError, PlanError, StorageError
from cpd.importance import ScoreTable, score
from cpd.importance.accumulate import Accumulator
from cpd.prune.index import kept_positions

Data = list[tuple[Tensor, Tensor]]


def loss_of(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(net(batch[0]), batch[1])


def slow(record: CombRecord, quantity: Callable[[str], Tensor]) -> dict[str, list[list[float]]]:
    """Per group, unit and slice, the sum of `quantity` over what the unit owns: one index_select at a time."""
    result: dict[str, list[list[float]]] = {}
    for group in record.groups:
        result[group.name] = []
        for unit in range(group.width):
            pieces = [p for p in group.slices if "running" not in p.tensor]
            result[group.name].append(
                [quantity(p.tensor).index_select(p.axis, torch.as_tensor(p.index[unit])).sum().item() for p in pieces]
            )
    return result


def test_magnitudes_equal_norms_of_the_gathered_weights(net: nn.Module, record: CombRecord) -> None:
    tables = score(net, record, None, ["l1", "l2"])
    weights = dict(net.named_parameters())
    for unit in range(4):  # conv1's group, every member written out
        parts = [weights["conv1.weight"][unit], weights["conv1.bias"][unit], weights["bn.weight"][unit]]
        parts += [weights["bn.bias"][unit], weights["conv2.weight"][:, unit]]
        everything = torch.cat([p.reshape(-1) for p in parts])
        assert tables["l1"].groups["conv1"][unit] == pytest.approx(everything.abs().sum().item(), rel=1e-6)
        assert tables["l2"].groups["conv1"][unit] == pytest.approx(everything.norm().item(), rel=1e-6)
    rows = weights["conv2.weight"].flatten(1).norm(dim=1)
    np.testing.assert_allclose(tables["l2"].layers["conv2"].scores, rows.detach().numpy(), rtol=1e-6)


def test_data_criteria_equal_a_slow_loop(net: nn.Module, record: CombRecord, data: Data) -> None:
    tables = score(net, record, data, ["taylor", "fisher"], batches=3)
    taylor = {g.name: np.zeros(g.width) for g in record.groups}
    fisher = {g.name: np.zeros(g.width) for g in record.groups}
    for batch in data:
        net.zero_grad()
        loss_of(net, batch).backward()
        parameters = dict(net.named_parameters())
        sums = slow(record, lambda name, p=parameters: (p[name] * p[name].grad).detach())
        for name, rows in sums.items():
            taylor[name] += np.abs(np.sum(rows, axis=1)) / 3
            fisher[name] += np.square(rows).mean(axis=1)
    # conv1 writes 4 channels of 4x4, conv2 writes 3: activations of each group for one sample
    memory = {"conv1": 4 * 16, "conv2": 3 * 16}
    for group in record.groups:
        np.testing.assert_allclose(tables["taylor"].groups[group.name], taylor[group.name], rtol=1e-4, atol=1e-9)
        expected = fisher[group.name] / memory[group.name]
        np.testing.assert_allclose(tables["fisher"].groups[group.name], expected, rtol=1e-4, atol=1e-12)


def test_taylor_is_the_derivative_of_scaling_a_unit(net: nn.Module, record: CombRecord, data: Data) -> None:
    """d loss / d s, where s multiplies all of the unit's weights, by central differences in double precision."""
    scores = score(net, record, data[:1], ["taylor"], batches=1)["taylor"].groups
    double = copy.deepcopy(net).double()
    batch = (data[0][0].double(), data[0][1])
    for group in record.groups:
        for unit in range(group.width):
            values = []
            for s in (1 - 1e-4, 1 + 1e-4):
                moved = copy.deepcopy(double)
                parameters = dict(moved.named_parameters())
                with torch.no_grad():
                    for piece in group.slices:
                        if piece.tensor in parameters:
                            where = [slice(None)] * parameters[piece.tensor].dim()
                            where[piece.axis] = torch.as_tensor(piece.index[unit])
                            parameters[piece.tensor][tuple(where)] *= s
                values.append(loss_of(moved, batch).item())
            slope = abs(values[1] - values[0]) / 2e-4
            assert scores[group.name][unit] == pytest.approx(slope, rel=2e-3, abs=2e-6)


def test_a_cut_student_scores_as_the_dense_net_with_dead_units_silenced(
    net: nn.Module, record: CombRecord, data: Data
) -> None:
    keep = {"conv1": (0, 2, 3), "conv2": (1, 2)}
    positions = kept_positions(record, keep)
    small = type(net)()
    small.conv1, small.bn = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
    small.conv2, small.head = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(32, 2)
    state = {}
    silenced = copy.deepcopy(net)
    for name, tensor in net.state_dict().items():
        for axis, alive in enumerate(positions.get(name, ())):
            if alive is not None:
                tensor = tensor.index_select(axis, torch.as_tensor(alive))
        state[name] = tensor
    small.load_state_dict(state)
    with torch.no_grad():  # a dead unit's outputs and readers are zero: same function, zero gradients elsewhere
        silenced.bn.weight[1] = silenced.bn.bias[1] = 0
        silenced.conv2.weight[:, 1] = 0
        silenced.conv2.weight[0] = silenced.conv2.bias[0] = 0
        silenced.head.weight[:, :16] = 0
    small.eval()
    torch.testing.assert_close(small(data[0][0]), silenced(data[0][0]))
    cut = score(small, record, data, ["taylor", "fisher", "l2"], batches=3, keep=keep)
    whole = score(silenced, record, data, ["taylor", "fisher", "l2"], batches=3)
    for criterion in ("taylor", "l2"):
        for name, kept in keep.items():
            a, b = cut[criterion].groups[name][list(kept)], whole[criterion].groups[name][list(kept)]
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)
    # the memory shrinks with the group: 3 of 4 and 2 of 3 channels are left
    for name, share in (("conv1", 3 / 4), ("conv2", 2 / 3)):
        kept = list(keep[name])
        np.testing.assert_allclose(
            cut["fisher"].groups[name][kept] * share, whole["fisher"].groups[name][kept], rtol=1e-4, atol=1e-12
        )
    assert cut["taylor"].groups["conv1"][1] == 0
    assert cut["fisher"].groups["conv2"][0] == 0
    assert cut["l2"].layers["conv1"].scores.shape == (3,)


def test_the_model_is_left_as_it_was(net: nn.Module, record: CombRecord, data: Data) -> None:
    net.bn.train()
    net.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    score(net, record, data, ["fisher", "random"], batches=2)
    assert net.bn.training
    assert not net.conv1.training
    assert not net.head.weight.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_random_is_a_control_that_repeats(net: nn.Module, record: CombRecord) -> None:
    one, same, other = (score(net, record, None, ["random"], seed=s)["random"].groups["conv1"] for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_accumulator_state_carries_on_where_it_stopped(net: nn.Module, record: CombRecord, data: Data) -> None:
    def backward(batch: tuple[Tensor, Tensor]) -> None:
        net.zero_grad()
        loss_of(net, batch).backward()

    whole = Accumulator(record, net, ["fisher"])
    first, second = Accumulator(record, net, ["fisher"]), Accumulator(record, net, ["fisher"])
    for number, batch in enumerate(data):
        backward(batch)
        whole.add()
        if number == 0:
            first.add()
            second.load_state(first.state())
        else:
            second.add()
    a, b = (t.tables()["fisher"].groups for t in (whole, second))
    assert all(np.array_equal(a[g], b[g]) for g in a)


def test_scores_survive_the_disk(net: nn.Module, record: CombRecord, tmp_path: Path) -> None:
    table = score(net, record, None, ["l2"])["l2"]
    table.save(tmp_path / "scores" / "l2.json")
    read = ScoreTable.load(tmp_path / "scores" / "l2.json")
    assert read.criterion == "l2"
    assert read.model == "tiny"
    assert read.batches == 0
    np.testing.assert_array_equal(read.groups["conv2"].astype(np.float32), table.groups["conv2"].astype(np.float32))
    np.testing.assert_allclose(read.layers["head"].scores, table.layers["head"].scores, rtol=1e-8)


def test_bad_input_is_one_clear_line(net: nn.Module, record: CombRecord, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no criterion is called 'l3'; there are l1"):
        score(net, record, None, ["l3"])
    with pytest.raises(DataError, match="taylor: these criteria need data"):
        score(net, record, None, ["l2", "taylor"])
    with pytest.raises(DataError, match="gave no batch"):
        score(net, record, [], ["taylor"])
    (tmp_path / "x.json").write_text('{"schema": 1}')
    with pytest.raises(StorageError, match="not a table of scores"):
        ScoreTable.load(tmp_path / "x.json")
