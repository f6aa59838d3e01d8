"""The verb: a model in, its dependency groups out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from cpd.comb.axes import Axes
from cpd.comb.cache import cached_axes, cached_trace
from cpd.comb.explain import with_ties
from cpd.comb.extract import extract
from cpd.comb.group import Group
from cpd.comb.propagate import propagate
from cpd.comb.record import CombRecord
from cpd.comb.rows import uneven
from cpd.comb.tabulate import tabulate
from cpd.comb.trace import Trace
from cpd.comb.units import find_units


@dataclass(eq=False, frozen=True)
class Comb:
    """A combed model: the groups, and what surgery needs to cut them.

    Attributes:
        record: groups and sizes as names and numbers; what plans, costs and screens use.
        trace: the graph that was read and that surgery copies.
        axes: every axis of every value of that graph, in atoms of the record.
    """

    record: CombRecord
    trace: Trace
    axes: Axes

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

    An architecture that was combed before is read from the cache (`cache.py`).

    Args:
        model: any module that torch.export can trace; left as it was.
        inputs: positional example arguments, the batch on axis 0 of every tensor.
        timeout_s: limit for the trace.
        free_rows: let heads and channel groups drop positions of their own where that is sound; False makes all of
            them drop the same ones.
    Raises:
        TraceError: the model cannot be traced, with the line of its code that stands in the way.
    """
    traced, seal = cached_trace(model, inputs, timeout_s)
    record, axes = cached_axes(seal, free_rows, lambda: read(traced, free_rows))
    return Comb(record, traced, axes)


def read(traced: Trace, free_rows: bool = True) -> tuple[CombRecord, Axes]:
    """Groups and axes of a traced model, from the graph itself."""
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
    return tabulate(traced, flow, labels, units, extracted, with_ties(flow, units, extracted))


def _in_use(traced: Trace) -> list[Any]:
    """Attribute nodes in the order in which the graph first computes with them."""
    seen = []
    for node in traced.graph.nodes:
        seen += [a for a in node.all_input_nodes if a.op == "get_attr"]
    return seen
