"""Why a group belongs together: the operators on its path, in words that can be checked against the source."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from torch.fx import Node

from cpd.comb.extract import Extracted
from cpd.comb.flow import Flow, operator_name, origin
from cpd.comb.group import Group, Tie
from cpd.comb.labels import Label, Varying
from cpd.comb.units import Units

_WRITES = "writes its units"
_READS = "reads them"


def with_ties(flow: Flow, units: Units, extracted: Extracted) -> list[Group]:
    """The groups with the operators that write, join, scale, reshape and read them."""
    member = _membership(units, extracted, len(flow.atoms))
    ties: list[list[Tie]] = [[] for _ in extracted.groups]
    for node in flow.labels:
        if node.op != "call_function":
            continue
        name = operator_name(node)
        module, source = origin(node)
        for group, effect in _effects(flow, units, member, node, name):
            ties[group].append(Tie(name, module, source, effect))
    return [replace(g, ties=tuple(dict.fromkeys(t))) for g, t in zip(extracted.groups, ties, strict=True)]


def _membership(units: Units, extracted: Extracted, count: int) -> sparse.csr_array:
    """(atoms, groups): which atoms die with some unit of a group."""
    rows = np.concatenate(extracted.rows) if extracted.rows else np.zeros(0, np.int64)
    group = np.repeat(np.arange(len(extracted.rows)), [len(r) for r in extracted.rows])
    pick = sparse.csr_array(
        (np.ones(len(rows), np.int32), (group, rows)), shape=(len(extracted.rows), units.closure.shape[0])
    )
    return sparse.csr_array((pick @ units.closure).T)


def _effects(flow: Flow, units: Units, member: sparse.csr_array, node: Node, name: str) -> list[tuple[int, str]]:
    given = [(a, _groups(flow, units, member, flow.labels.get(a))) for a in node.all_input_nodes]
    result = _groups(flow, units, member, flow.labels[node])
    if node in flow.macs:
        read = set().union(*(groups for _, groups in given)) - result if given else set()
        weight_only = [a for a, _ in given if a.op == "get_attr"]
        written = result & set().union(*(g for a, g in given if a in weight_only)) if weight_only else set()
        through = result - written
        return [(g, _WRITES) for g in written] + [(g, _READS) for g in read] + [(g, "passes them on") for g in through]
    tensors = [(a, groups) for a, groups in given if groups]
    if len(tensors) > 1:
        own = [a for a, _ in tensors if a.op == "get_attr"]
        if own and len(own) >= len(tensors) - 1:
            return [(g, "scales or shifts each of them") for g in result]
        values = [origin(a)[0] or operator_name(a) for a, _ in tensors]
        word = "joins side by side" if name in ("cat", "concat", "stack") else "ties position by position"
        return [(g, f"{word} what comes from {' and '.join(dict.fromkeys(values))}") for g in result]
    if name in ("view", "reshape", "flatten", "unflatten") and len(result | set().union(*(g for _, g in given))) > 1:
        return [(g, f"views them as {tuple(flow.shape(node))}") for g in result]
    if name in ("split", "split_with_sizes", "chunk", "slice") and given:
        return [(g, "cuts the axis in parts") for g in result]
    return []


def _groups(flow: Flow, units: Units, member: sparse.csr_array, labels: Any) -> set[int]:
    """Groups on any axis of a value."""
    found: set[int] = set()
    for label in _all(labels):
        atoms = units.roots[label]
        first = member.indices[member.indptr[atoms[0]] : member.indptr[atoms[0] + 1]]
        last = member.indices[member.indptr[atoms[-1]] : member.indptr[atoms[-1] + 1]]
        middle = atoms[len(atoms) // 2]
        found |= set(first.tolist()) | set(last.tolist())
        found |= set(member.indices[member.indptr[middle] : member.indptr[middle + 1]].tolist())
    return found


def _all(labels: Any) -> list[Any]:
    result: list[Label] = []
    for label in labels or []:
        if isinstance(label, list):
            result += _all(label)
        elif label is not None:
            result.append(label.atoms.reshape(-1) if isinstance(label, Varying) else label)
    return result
