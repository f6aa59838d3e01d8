"""Find the dependency groups of a model: what must be removed together, what is locked and why, and the proof."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cpd.cli import options
from cpd.comb.group import Group
from cpd.comb.record import CombRecord
from cpd.prune.cost import CostModel

HELP = "groups, locked ones with reasons, certificate"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("--out", metavar="DIR", default="", help="keep the comb there (comb.json, comb.npz)")
    parser.add_argument("--no-certify", action="store_true", help="leave out the two checks that prove every group")
    options.add_timeout(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.cli.combed import comb_model

    options.check_writable(arguments.json)
    model, inputs = options.load(arguments)
    record = comb_model(model, inputs, not arguments.no_certify, arguments.timeout).record
    if arguments.out:
        record.save(Path(arguments.out))
    if arguments.json:
        options.write_json(arguments.json, as_dict(arguments.spec, record))
    if arguments.json != "-":
        print(as_text(record))
    return 0


def as_text(record: CombRecord) -> str:
    cost = CostModel(record)
    rows = [("group", "units", "at once", "MACs", "params", "tensors", "proof", "locked because")]
    for group in record.groups:
        share = cost.shares[group.name]
        rows.append((
            group.name, str(group.width), str(group.step), f"{share['macs']:.1%}", f"{share['params']:.1%}",
            str(len(group.tensors)), _proof(group), group.reason,
        ))  # fmt: skip
    free = sum(g.prunable for g in record.groups)
    certified = sum(g.certified is True for g in record.groups)
    lines = [
        options.table(rows, right=(1, 2, 3, 4, 5))
        if record.groups
        else "no group of units can be told apart in this model.",
        "",
        f"{len(record.groups)} groups: {free} prunable, {len(record.groups) - free} locked, {certified} certified.",
        f"{cost.dense.parameters:,} parameters, {cost.dense.macs / 1e6:,.1f} million MACs for one sample. A share is what hangs",
        "on the group; weights between two groups hang on both.",
    ]
    lines += [f"operator without a rule: {text}" for text in record.unknown]
    return "\n".join(lines)


def as_dict(spec: str, record: CombRecord) -> dict[str, Any]:
    cost = CostModel(record)
    groups = [
        {
            "name": g.name, "units": g.width, "at_once": g.step, "prunable": g.prunable, "reason": g.reason,
            "certified": g.certified, "parent": g.parent, "tied": list(g.tied), "share": cost.shares[g.name],
            "tensors": list(g.tensors),
        }
        for g in record.groups
    ]  # fmt: skip
    return {
        "schema": 1, "model": spec, "digest": record.model, "parameters": cost.dense.parameters, "macs": cost.dense.macs,
        "groups": groups, "unknown": list(record.unknown),
    }  # fmt: skip


def _proof(group: Group) -> str:
    return {True: "right", False: "wrong", None: "none"}[group.certified]
