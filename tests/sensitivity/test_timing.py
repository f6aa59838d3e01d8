"""Latency by turns: ratios of networks whose time is known, and the part of a real one that is timed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import Graph, GraphModule

import cpd
from cpd.prune.plan import plan_ratios
from cpd.sensitivity.part import alike, part, work
from cpd.sensitivity.timing import Ratio, Stopwatch
from cpd.sensitivity.walk import Walker

INPUTS = (torch.zeros(2, 3),)


class Clock:
    """Milliseconds that pass only while an operator works."""

    def __init__(self) -> None:
        self.now, self.speed, self.batches = 0.0, 1.0, []

    def pass_ms(self, run, sample, device) -> float:
        before = self.now
        run(*sample)
        return self.now - before

    def work(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        self.now += len(weight) / self.speed
        return x


def network(clock: Clock, *milliseconds: int) -> GraphModule:
    root, graph = nn.Module(), Graph()
    x = graph.placeholder("x")
    for number, each in enumerate(milliseconds):
        root.register_buffer(f"weight{number}", torch.zeros(each))
        x = graph.call_function(clock.work, (x, graph.get_attr(f"weight{number}")))
    graph.output(x)
    return GraphModule(root, graph).eval()


@pytest.mark.parametrize("device", ["cpu", "meta"])  # the second stands for any where whole passes are timed
def test_ratios_are_those_of_the_times(device, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("cpd.sensitivity.timing.pass_ms", clock.pass_ms)
    watch = Stopwatch(network(clock, 15, 20, 15), INPUTS, 4, torch.device("cpu"))
    watch._device = torch.device(device)
    networks = {1: network(clock, 15, 10, 15), 2: network(clock, 15, 5, 10)}
    works = {name: watch.work(each) for name, each in networks.items()}
    clock.batches.clear()
    found, dense_ms = watch.ratios(networks, works, 0.0)
    assert (dense_ms, found[1], found[2]) == (50, Ratio(0.8, 0.8, 0.8), Ratio(0.6, 0.6, 0.6))
    assert set(clock.batches) == {4}
    # Four whole passes, six of the stretch in which any differs (or of all), and what leads there once.
    assert len(clock.batches) == 4 * 3 + (6 * 3 * 2 + 1 if device == "cpu" else 6 * 3 * 3)


def test_a_moment_that_slows_one_round_moves_no_ratio(monkeypatch):
    clock = Clock()
    passes = 0

    def pass_ms(run, sample, device) -> float:
        nonlocal passes
        passes += 1
        clock.speed = 0.1 if 10 < passes < 14 else 1.0
        return clock.pass_ms(run, sample, device)

    monkeypatch.setattr("cpd.sensitivity.timing.pass_ms", pass_ms)
    watch = Stopwatch(network(clock, 15, 20, 15), INPUTS, 4, torch.device("cpu"))
    cut = network(clock, 15, 10, 15)
    found, dense_ms = watch.ratios({1: cut}, {1: watch.work(cut)}, 1.0)
    assert (found[1].median, dense_ms) == (0.8, 50)


def test_equal_work_has_one_name_and_other_widths_another(net, comb, inputs):
    def cut(name: str, ratio: float):
        return sorted(work(cpd.prune(net, comb, plan_ratios(comb, {name: ratio})), inputs))

    assert cut("block1.conv1", 0.5) == cut("block1.conv1", 0.5)
    assert cut("block1.conv1", 0.5) != cut("block1.conv1", 0.25)
    assert cut("block1.conv1", 0.5) != cut("block2.conv1", 0.5)
    twins = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(4)))
    found = cpd.comb(twins, (torch.zeros(2, 4, 3, 3),))
    keys = {
        name: sorted(work(cpd.prune(twins, found, plan_ratios(found, {name: 0.5})), (torch.zeros(2, 4, 3, 3),)))
        for name in ("0", "1", "2")
    }
    assert keys["0"] == keys["1"] == keys["2"]


@pytest.mark.parametrize("name", ["stem", "block1.conv1", "block2.conv1", "block2.conv2", "attention.qkv:heads"])
def test_a_part_holds_what_differs_and_computes_what_the_network_does_there(net, comb, task, inputs, name):
    """Put back between what lies before it and behind it, the part gives the network's own answer."""
    family = (name, *comb.record.by_name[name].tied)
    dense = cpd.prune(net, comb, cpd.uniform_plan(comb, 0.0)).eval()
    cut = cpd.prune(net, comb, plan_ratios(comb, dict.fromkeys(family, 0.5))).eval()
    works = work(dense, inputs), work(cut, inputs)
    before, behind = alike(*works)
    assert works[0][:before] == works[1][:before]
    assert works[0][len(works[0]) - behind :] == works[1][len(works[1]) - behind :]
    assert before + behind > 0
    assert works[0][before] != works[1][before]
    assert works[0][-1 - behind] != works[1][-1 - behind]
    walker = Walker(cut)
    each = part(walker, before, behind)
    operators = [node for node in walker.nodes if node.op == "call_function"]
    images = task.images[:7]
    with torch.no_grad():
        expected = cut(images)
        reads = [walker.nodes[at] for at in each.reads]
        stretch = operators[before : len(operators) - behind]
        later = walker.read_later(walker.at[stretch[-1]] + 1)
        values = walker.run(operators[:before], walker.given(images), keep={*reads, *(later - set(stretch))})
        given = [values[node] for node in reads]
        untouched = [value.clone() for value in given]
        returned = each.module(*each.arguments(given))
        assert all(torch.equal(a, b) for a, b in zip(given, untouched, strict=True)), "changed in place"
        values |= dict(zip([node for node in stretch if node in later], returned, strict=True))
        values = walker.run(operators[len(operators) - behind :], values, keep=walker.output.all_input_nodes)
        assert torch.equal(walker.result(values), expected)
