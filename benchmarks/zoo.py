"""Which models of a zoo are combed, certified and cut, and what a cut of a half leaves of them.

    python benchmarks/zoo.py --families                     the smallest model of every model file of timm
    python benchmarks/zoo.py --sample 150 --below 60e6      a seeded sample of all the others
    python benchmarks/zoo.py --all                          every one of timm's models
    python benchmarks/zoo.py smp:Unet/resnet18 timm:deit_tiny_patch16_224

Every model runs in a process of its own under a time limit. It is combed (cold, and again from the trace on
disk), certified by the product's own two checks in double precision, cut, run at another batch size and trained for a step. With `--resume` the rows that the file of
`--json` already holds are not measured again, so a long walk can be stopped and continued.

Bar: of every hundred models 98 are certified, and whatever is not is refused with a reason; none fails a check, breaks
or hangs. Of the families all are certified, half of them keep at most 0.28 of their parameters and 90 of 95 at most 0.60.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bench

LARGEST_FAMILY = 120e6  # parameters; the smallest model of some files is too large for two cores
EXPECTED = ("input of the model", "output of the model")  # locks that every model has
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # models are walked side by side, and a pool of threads does not survive a fork
_FILLS = ("normal_", "uniform_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_")
FORKED = multiprocessing.get_context("fork")  # torch and timm are imported once, not once a model


# Which models


def sizes() -> dict[str, dict[str, Any]]:
    """Model file and number of parameters of every timm model; built without numbers, and remembered."""
    import cpd._torchvision  # noqa: F401  declares operators that torchvision needs

    import timm
    import torch

    home = Path(os.environ.get("CPD_HOME", bench.ROOT / "workspace"))
    file = home / f"timm-{timm.__version__}-sizes.json"
    if file.is_file():
        known: dict[str, dict[str, Any]] = json.loads(file.read_text())
        return known
    rows = {}
    names = timm.list_models()
    # Filling weights in takes most of the time of building a model, even where there are none to fill.
    idle = {method: lambda tensor, *_, **__: tensor for method in _FILLS}
    for number, name in enumerate(names):
        with torch.device("meta"), patch.multiple(torch.Tensor, **idle):
            model = timm.create_model(name)
        count = sum(p.numel() for p in model.parameters())
        rows[name] = {"file": timm.model_entrypoint(name).__module__.rpartition(".")[2], "parameters": count}
        print(f"\rcounting parameters: {number + 1} of {len(names)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))
    return rows


def families(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The smallest model of every file, the first in timm's order where several are equally small."""
    smallest: dict[str, str] = {}
    for name in rows:
        best = smallest.setdefault(rows[name]["file"], name)
        if rows[name]["parameters"] < rows[best]["parameters"]:
            smallest[rows[name]["file"]] = name
    return list(smallest.values())


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The specs to walk, in order."""
    if arguments.specs:
        return list(arguments.specs)
    if arguments.quick:
        import cpd._torchvision  # noqa: F401  declares operators that torchvision needs

        import timm

        return [f"timm:{name}" for name in timm.list_models("test_*")]
    rows = sizes()
    smallest = families(rows)
    if arguments.all:
        return [f"timm:{name}" for name in sorted(rows)]
    if arguments.sample:
        others = [n for n in sorted(rows) if n not in smallest and rows[n]["parameters"] < arguments.below]
        drawn = random.Random(arguments.seed).sample(others, min(arguments.sample, len(others)))
        return [f"timm:{name}" for name in drawn]
    return [f"timm:{name}" for name in smallest if rows[name]["parameters"] <= LARGEST_FAMILY]


# One model


def examine(spec: str, ratio: float) -> dict[str, Any]:
    """Everything that is measured on one model. `state` is "certified", "refused" (with `why`) or "wrong"."""
    import torch

    import cpd
    from cpd.comb.certify import measure, outputs, relative_error

    row: dict[str, Any] = {"model": spec, "state": "wrong"}

    def timed(step: str, start: float) -> None:
        row[step] = round(time.perf_counter() - start, 2)

    start = time.perf_counter()
    try:
        model, inputs = cpd.load_model(spec)
        timed("load_s", start)
        dense = sum(p.numel() for p in model.parameters())
        row["parameters"] = dense
        start = time.perf_counter()
        comb = cpd.comb(model, inputs)
    except cpd.CpdError as error:
        return row | {"state": "refused", "why": str(error)}
    timed("comb_s", start)
    start = time.perf_counter()
    again = cpd.comb(model, inputs)
    timed("warm_s", start)
    if [_facts(g) for g in again.groups] != [_facts(g) for g in comb.groups]:
        return row | {"why": "its trace from the cache gives other groups"}
    comb = again  # what is certified and cut below is what a second start would see

    locked = [g for g in comb.groups if not g.prunable]
    reasons = Counter(g.reason for g in locked if g.reason not in EXPECTED)
    row |= {"groups": len(comb.groups) - len(locked), "locked": len(locked), "reasons": dict(reasons.most_common(5))}
    row["unknown"] = list(comb.record.unknown)
    if not row["groups"]:
        return row | {"state": "refused", "why": f"no group may be cut: {_why(reasons)}"}

    start = time.perf_counter()
    checks = measure(model, inputs, comb, ratio)
    timed("certify_s", start)
    row["error"] = max(max(c.relabel_error, c.silence_error) for c in checks)
    failed = [c for c in checks if not c.passed]
    if failed:
        names = ", ".join(f"{c.group} (relabel {c.relabel_error:.0e}, silence {c.silence_error:.0e})" for c in failed[:3])
        return row | {"why": f"{len(failed)} groups fail a check: {names}"}

    start = time.perf_counter()
    pruned = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=ratio))
    timed("prune_s", start)
    row["kept"] = round(sum(p.numel() for p in pruned.parameters()) / dense, 4)
    wide = tuple(torch.cat([x, x[:1]]) for x in inputs)
    with torch.no_grad():
        one, other = outputs(pruned, inputs), outputs(pruned, wide)
    batched = [i for i, o in enumerate(one) if o.ndim and o.shape[0] == len(inputs[0])]
    if relative_error([other[i][: len(inputs[0])] for i in batched], [one[i] for i in batched]) > 1e-4:
        return row | {"why": "another batch size gives other outputs"}
    pruned.train()
    sum(o.square().mean() for o in outputs(pruned, wide)).backward()  # type: ignore[union-attr]
    grads = [p.grad for p in pruned.parameters() if p.grad is not None]
    if not grads or not all(bool(torch.isfinite(g).all()) for g in grads):
        return row | {"why": "no finite gradient in training mode"}
    if row["kept"] > 0.95:
        return row | {"state": "refused", "why": f"{row['kept']:.0%} of the parameters stay: {_why(reasons)}"}
    return row | {"state": "certified"}


def _facts(group: Any) -> tuple[Any, ...]:
    pieces = [(s.tensor, s.axis, s.index.tolist()) for s in group.slices]
    return group.name, group.width, group.blocks, group.prunable, group.reason, group.tied, group.parent, pieces


def _why(reasons: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count} groups)" for reason, count in reasons.most_common(3)) or "no reason is given"


def _child(pipe: Connection, spec: str, arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads or 1)
    try:
        with tempfile.TemporaryDirectory(dir=arguments.traces) as traces:  # of its own: the first comb is cold
            os.environ["CPD_CACHE"] = traces
            row = examine(spec, arguments.ratio)
    except Exception as error:  # noqa: BLE001 the row is the report
        row = {"model": spec, "state": "wrong", "why": f"{type(error).__name__}: {error}"[:300]}
    used = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send(row | {"cpu_s": round(used.ru_utime + used.ru_stime, 1), "peak_mib": used.ru_maxrss // 1024})


# Many models


def walk(specs: list[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a model, in the order in which they end."""
    import cpd._torchvision

    import timm  # noqa: F401  imported here so that no child has to

    import cpd.comb.certify  # noqa: F401

    waiting = list(reversed(specs))
    running: dict[Connection, tuple[Any, str, float]] = {}
    while waiting or running:
        while waiting and len(running) < arguments.jobs:
            spec = waiting.pop()
            ours, theirs = FORKED.Pipe(duplex=False)
            process = FORKED.Process(target=_child, args=(theirs, spec, arguments))
            process.start()
            theirs.close()
            running[ours] = (process, spec, time.monotonic() + arguments.limit)
        soonest = min(deadline for _, _, deadline in running.values())
        ready = wait(list(running), timeout=max(0.0, soonest - time.monotonic()))
        for pipe in list(running):
            process, spec, deadline = running[pipe]
            if pipe in ready:
                try:
                    row = pipe.recv()  # type: ignore[union-attr]
                except EOFError:
                    process.join()
                    row = {"model": spec, "state": "wrong", "why": f"its process ended with status {process.exitcode}"}
            elif time.monotonic() >= deadline:
                process.kill()
                row = {"model": spec, "state": "wrong", "why": f"no answer in {arguments.limit:g} s"}
            else:
                continue
            process.join()
            pipe.close()
            del running[pipe]
            yield row


def verdict(rows: list[dict[str, Any]], of_families: bool) -> tuple[str, bool]:
    """The line that states the figure, and whether the bar holds."""
    good = [r for r in rows if r["state"] == "certified"]
    refused = sum(r["state"] == "refused" for r in rows)
    figure = f"{len(good)} of {len(rows)} models certified, {refused} refused with a reason, {len(rows) - len(good) - refused} failed"
    holds = len(good) + refused == len(rows) and len(good) >= len(rows) * 148 / 150
    if good:
        kept = [r["kept"] for r in good]
        small = sum(k <= 0.60 for k in kept)
        figure += f"; parameters kept: median {statistics.median(kept):.3f}, at most 0.60 in {small}, most {max(kept):.3f}"
        if of_families:
            holds = len(good) == len(rows) and statistics.median(kept) <= 0.28 and small >= len(rows) * 90 / 95
    return figure + ".", holds


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("specs", nargs="*", help="model specs, instead of a choice by the options")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--families", action="store_true", help="the smallest model of every timm file (the default)")
    which.add_argument("--sample", type=int, metavar="N", help="N of the other models, drawn by --seed")
    which.add_argument("--all", action="store_true", help="every timm model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--below", type=float, default=60e6, metavar="P", help="parameters of a sampled model")
    parser.add_argument("--ratio", type=float, default=0.5, help="share of every group that is cut")
    parser.add_argument("--limit", type=float, default=240, metavar="S", help="seconds for one model")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the --json file already has")
    arguments = parser.parse_args()

    specs = chosen(arguments)
    rows: list[dict[str, Any]] = []
    if arguments.resume and arguments.json and arguments.json.is_file():
        rows = [r for r in json.loads(arguments.json.read_text())["rows"] if r["model"] in specs]
    done = {r["model"] for r in rows}
    with tempfile.TemporaryDirectory() as arguments.traces:
        for row in walk([s for s in specs if s not in done], arguments):
            rows.append(row)
            print(f"{len(rows):4} {row['state']:9} {row['model']:56} kept {row.get('kept', '-'):>6}  "
                  f"cpu {row.get('cpu_s', '-'):>6} s  {row.get('why', '')}", flush=True)  # fmt: skip
            if arguments.json:
                arguments.json.write_text(json.dumps({"rows": rows}, indent=1))
    rows.sort(key=lambda r: specs.index(r["model"]))
    head = ("model", "M params", "state", "kept", "groups", "locked", "comb s", "warm s", "certify s", "cut s", "CPU s", "peak MiB", "why")
    bench.table(head, [
        (r["model"], f"{r['parameters'] / 1e6:.1f}" if "parameters" in r else "-", r["state"], r.get("kept", "-"), r.get("groups", "-"),
         r.get("locked", "-"), r.get("comb_s", "-"), r.get("warm_s", "-"), r.get("certify_s", "-"), r.get("prune_s", "-"), r.get("cpu_s", "-"),
         r.get("peak_mib", "-"), r.get("why") or "; ".join(f"{k} ({n})" for k, n in r.get("reasons", {}).items())) for r in rows
    ])  # fmt: skip
    of_families = not (arguments.specs or arguments.sample or arguments.all or arguments.quick)
    figure, holds = verdict(rows, of_families)
    return bench.end(arguments, {"rows": rows, "ratio": arguments.ratio, "limit_s": arguments.limit}, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
