"""The verb: a model in, its dependency groups out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cpd.comb.cache import cached_trace
from cpd.comb.explain import with_ties
from cpd.comb.extract import extract
from cpd.comb.flow import Flow
from cpd.comb.group import Group, IntArray
from cpd.comb.labels import Label
from cpd.comb.propagate import Axis, propagate
from cpd.comb.record import CombRecord
from cpd.comb.rows import uneven
from cpd.comb.tabulate import tabulate
from cpd.comb.trace import Trace
from cpd.comb.units import Units, find_units


@dataclass(eq=False, frozen=True)
class Comb:
    """A combed model: the groups, and what surgery needs to cut them.

    Attributes:
        record: groups and sizes as names and numbers; what plans, costs and screens use.
        trace: the graph that was read and that surgery copies.
        flow: labels of every value of that graph.
        labels: labels of every axis of every tensor.
        atom_numbers: per atom its number in the record, -1 where no unit kills it.
    """

    record: CombRecord
    trace: Trace
    flow: Flow
    labels: dict[Axis, Label]
    units: Units
    atom_numbers: IntArray

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.record.groups

    @property
    def model(self) -> str:
        """Digest of the architecture."""
        return self.record.model

    def with_groups(self, groups: tuple[Group, ...]) -> Comb:
        return replace(self, record=self.record.with_groups(groups))


def comb(model: nn.Module, inputs: tuple[Any, ...], timeout_s: float = 120.0, free_rows: bool = True) -> Comb:
    """Find every set of channels, heads or hidden units of `model` that must be removed together.

    Args:
        model: any module that torch.export can trace; left as it was.
        inputs: positional example arguments, the batch on axis 0 of every tensor.
        timeout_s: limit for the trace.
        free_rows: let heads and channel groups drop positions of their own where that is sound; False makes all of
            them drop the same ones.
    Raises:
        TraceError: the model cannot be traced, with the line of its code that stands in the way.
    """
    traced = cached_trace(model, inputs, timeout_s)
    order = list(dict.fromkeys(str(n.target) for n in _in_use(traced)))
    forced: set[str] = set()
    while True:
        # Every pass either takes freedom back from some split, of which there are finitely many, or is the last.
        known = len(forced)
        flow, labels = propagate(traced, forced)
        if not free_rows:
            forced |= {split.key for split in flow.boxes.free}
        if len(forced) > known:
            continue
        units = find_units(flow, labels)
        forced |= uneven(flow, units)
        if len(forced) > known:
            continue
        extracted = extract(flow, units, labels, order)
        forced |= extracted.forced
        if len(forced) == known:
            break
    record, numbers = tabulate(traced, flow, labels, units, extracted, with_ties(flow, units, extracted))
    return Comb(record, traced, flow, labels, units, numbers)


def _in_use(traced: Trace) -> list[Any]:
    """Attribute nodes in the order in which the graph first computes with them."""
    seen = []
    for node in traced.graph.nodes:
        seen += [a for a in node.all_input_nodes if a.op == "get_attr"]
    return seen
