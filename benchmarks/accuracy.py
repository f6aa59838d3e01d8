"""Accuracy at equal budgets: ours beside Torch-Pruning 1.6.1 and the released code's schedule, on CIFAR-10.

A ResNet-20 loses a half, two thirds and 77 % of its multiply-accumulates, three seeds each. Every method gets the same
steps, batches, augmentation, optimizer and schedule of the learning rate; its peak is the one of a few that is best for
the method on training images that were held out, at the middle target with the first seed. Reported is the accuracy of
the last step on all test images. Speed is measured, the networks' passes in turn with the dense one's.

Torch-Pruning prunes as its CIFAR recipe does (global, small steps until the MACs are met), then the network is
fine-tuned. It gets the inner channels of the blocks alone: it takes the shortcut's zero padding for an operation that
leaves channels where they are, so that cuts of the residual stream scramble it and do far worse.
Ours plans by measured sensitivities and prunes while distilling; the other rows of ours show what each part is worth.
Finished cells are kept: a benchmark that was killed goes on.

--full has all images and epochs to match, for a GPU (--device cuda); with --model resnet56 published rows stand beside.
Bar: at every target our mean is above that of every rival.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bench

from benchmarks.accuracy_cells import FULL, METHODS, QUICK, SHARED, WEIGHTS, Budget, Lab

HEAD = ("MACs cut", "method", "lr", "top-1 mean", "s.d.", "each seed", "MACs", "parameters", "speed-up b1", "b64")
# CIFAR-10 as it was published: (method, top-1 before, after, times fewer MACs); best epochs, single runs
PUBLISHED = (
    ("DepGraph, full", 93.53, 93.77, 2.11), ("DepGraph, no sparse learning", 93.53, 93.46, 2.11), ("ResRep", 93.71, 93.71, 2.12),
    ("DepGraph, full", 93.53, 93.64, 2.57), ("GReg-2", 93.36, 93.36, 2.55), ("C-SGD", 93.39, 93.44, 2.55),
    ("PPSM", 93.44, 93.22, 4.1), ("HRank", 93.26, 90.72, 3.9),
)  # fmt: skip


def best_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For every method the rate with the best accuracy on held-out training images, the lower one where two are alike."""
    chosen: dict[str, float] = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = sorted((row for row in rows if row["method"] == name), key=lambda row: row["lr"])
        chosen[name] = max(mine, key=lambda row: row["held"])["lr"]
    return chosen


def summed_up(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a target and method: mean and spread over the seeds, in percent."""
    found = []
    for target in sorted({row["target"] for row in rows}):
        for name in METHODS:
            mine = sorted((r for r in rows if r["method"] == name and r["target"] == target), key=lambda r: r["seed"])
            if mine:
                values = [100 * row["top1"] for row in mine]
                means = {
                    key: statistics.mean(row[key] for row in mine) for key in ("macs", "parameters", "cpu_s", "lr")
                }
                spread = statistics.stdev(values) if len(values) > 1 else math.nan
                found.append(
                    {"target": target, "method": name, "mean": statistics.mean(values), "sd": spread, "values": values}
                    | means
                )
    return found


def leads(table: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    """By target: our mean less the best rival's, in points."""
    found = {}
    for target in sorted({row["target"] for row in table}):
        means = {row["method"]: row["mean"] for row in table if row["target"] == target}
        found[target] = means["ours"] - max(mean for name, mean in means.items() if METHODS[name].rival)
    return found


_LAB: Lab | None = None  # inherited by workers, which are forked


def _cell(job: tuple[str, float, int, float]) -> dict[str, Any]:
    assert _LAB is not None
    return _LAB.run(*job)


def _dense(workers: int) -> None:
    assert _LAB is not None
    _LAB.train_dense(workers)


def _sweep(job: tuple[str, int]) -> None:
    assert _LAB is not None
    _LAB.sweep(*job)


def apart(work: Callable[[int], None], workers: int) -> None:
    """Work in a process of its own: more threads than one leave their pool behind, which does not survive a fork."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(workers,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the dense training ended with status {process.exitcode}.")


def each(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """What comes of the jobs, as it comes, by as many processes as were asked for."""
    if workers == 1:
        yield from map(work, jobs)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(work, jobs)


def said(what: str, start: float) -> None:
    """How far it is, and whether the machine does anything else."""
    minutes = (time.perf_counter() - start) / 60
    print(f"{what}: done after {minutes:.1f} min, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def all_of(jobs: Sequence[tuple[str, float, int, float]], workers: int) -> list[dict[str, Any]]:
    """The cells; each is told of when it is there."""
    rows = []
    for row in each(_cell, jobs, workers):
        rows.append(row)
        text = f"{row['method']} {row['target']:g}x seed {row['seed']} lr {row['lr']:g}: held-out {row['held']:.2%}, {row['cpu_s']:.0f} CPU s"
        print(f"  {len(rows)} of {len(jobs)}: {text}", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    global _LAB
    parser = bench.options(__doc__)
    parser.add_argument("--model", choices=list(WEIGHTS), default="resnet20")
    parser.add_argument("--full", action="store_true", help="all images and 100 epochs, for a GPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--workers", type=int, default=2, help="processes that train, each with one thread on the CPU")
    parser.add_argument(
        "--folder", type=Path, help="where weights and finished cells are kept (default: the user's cache)"
    )
    arguments = parser.parse_args()
    if not (SHARED / "weights" / WEIGHTS[arguments.model]).is_file():
        print(f"{SHARED / 'weights'} is not there: nothing to measure.")
        return 0
    from cpd.comb.cache import cache_folder

    arguments.folder = arguments.folder or cache_folder().parent / "accuracy"
    arguments.threads = arguments.threads or (1 if arguments.device == "cpu" else 0)
    bench.begin(arguments)
    budget = QUICK if arguments.quick else FULL if arguments.full else Budget()
    if arguments.model == "resnet56":
        budget = replace(budget, targets=(2.1, 2.55, 4.3))
    if arguments.device != "cpu":
        arguments.workers = 1
    start, before = time.perf_counter(), os.getloadavg()[0]
    lab = _LAB = Lab(arguments.model, arguments.folder, arguments.device, budget)
    if arguments.device == "cpu":
        apart(_dense, arguments.workers)
    else:
        lab.train_dense(1)
    lab.take_dense()
    said("dense network", start)
    list(each(_sweep, [("l2", 0), *(("taylor", seed) for seed in range(budget.seeds))], arguments.workers))
    lab.plan()
    said("cuts and plans", start)
    tried = all_of(
        [(name, budget.targets[len(budget.targets) // 2], 0, rate) for name in METHODS for rate in budget.rates],
        arguments.workers,
    )
    rates = best_rates(tried)
    said("learning rates", start)
    rows = all_of(
        [(n, t, s, rates[n]) for t in budget.targets for s in range(budget.seeds) for n in METHODS], arguments.workers
    )
    said("cells", start)
    from cpd.measure.accuracy import accuracy

    dense, speed, table = accuracy(lab.model, lab.test), lab.timed(rows), summed_up(rows)
    print(
        f"dense top-1 {dense:.2%} on {budget.tested} test images; {budget.steps} steps of {budget.batch} of the first {budget.images} "
        f"training images each, peak rate out of {', '.join(f'{r:g}' for r in budget.rates)}"
    )
    bench.table(HEAD, [
        (f"{r['target']:g}x", METHODS[r["method"]].name, f"{r['lr']:g}", f"{r['mean']:.2f}%", f"{r['sd']:.2f}",
         " ".join(f"{v:.2f}" for v in r["values"]), f"{r['macs']:.1%}", f"{r['parameters']:.1%}",
         *(f"{speed[METHODS[r['method']].cut, r['target']][b]:.2f}x" for b in (1, 64))) for r in table
    ])  # fmt: skip
    if arguments.model == "resnet56":
        print("Published, on the original photographs (these here were compressed), best epoch of a single run:")
        bench.table(
            ("method", "before", "after", "change", "MACs cut"),
            [(n, b, a, f"{a - b:+.2f}", f"{x:g}x") for n, b, a, x in PUBLISHED],
        )
    ahead = leads(table)
    cpu = sum(
        row["cpu_s"] for row in {(r["method"], r["target"], r["seed"], r["lr"]): r for r in tried + rows}.values()
    )
    figure = (
        "Ours against the best rival: " + ", ".join(f"{lead:+.2f} points at {t:g}x" for t, lead in ahead.items())
        + f" ({budget.seeds} seed(s), dense {dense:.2%}; {cpu / 60:.0f} CPU minutes of cells, all of it in "
        f"{(time.perf_counter() - start) / 60:.0f} minutes with {arguments.workers} workers, load {before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after)."
    )  # fmt: skip
    result = {
        "dense": dense, "budget": asdict(budget), "rates": rates, "tried": tried, "rows": rows, "table": table, "leads": ahead,
        "speed": {f"{cut} {t:g}x": values for (cut, t), values in speed.items()}, "seconds": time.perf_counter() - start,
    }  # fmt: skip
    return bench.end(arguments, result, figure, min(ahead.values()) > 0)


if __name__ == "__main__":
    sys.exit(main())
