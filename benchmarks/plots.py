"""A run of 100,000 recorded steps beside one of 100: reading its curves, drawing all its plots, and writing its rows.

Both runs have the metrics of a real one (loss and two terms, rate, speed, accuracy, cost, latency, 20 groups) at every
single step, and a cut every hundredth of the run. Read and drawn as the Run screen does it once a second: thinned in the
store to at most 600 points with every peak among them. Bar: the long run takes at most twice as long as a run of 1,000
steps, which is the shortest that has more points than a plot shows, and less than half of the second between two looks.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bench

LENGTHS = (100, 1_000, 10_000, 100_000)
FACTOR, SECONDS = 2.0, 0.5
SINGLE = ("train/loss", "train/loss/task", "train/loss/soft_logits", "train/lr", "train/images_per_s", "val/top1", "cost/macs", "cost/params",
          "latency/ms_b1", "latency/ms_b32")  # fmt: skip
GROUPS = 20


def fill(store: object, run: str, steps: int) -> float:
    """Write the run as a worker does, in parts; seconds a thousand rows."""
    from cpd.runs.spec import RunSpec

    dice = random.Random(0)
    store.add(run, RunSpec("distill"))
    names = (*SINGLE, *(f"width/group{number}" for number in range(GROUPS)))
    took, rows = 0.0, 0
    for start in range(0, steps, 500):
        part = [(step, name, dice.random()) for step in range(start, min(steps, start + 500)) for name in names]
        before = time.perf_counter()
        store.advance(run, part, (start, steps))
        took += time.perf_counter() - before
        rows += len(part)
    for step in range(0, steps, max(1, steps // 100)):
        store.add_event(run, step, "cut", f"group{step % GROUPS} loses 2 units", {})
    return 1000 * took / rows


def draw(recorded: dict, events: list, steps: int) -> int:
    """Every plot of the screen as the JSON that goes to the browser; its bytes."""
    from app.charts.training import Mark, Series, over_steps, width_map

    marks = [Mark(event.step, event.text) for event in events]
    plots = [over_steps([Series(name, recorded[name].steps, recorded[name].values, "#0072B2")], name, marks=marks) for name in SINGLE[2:]]
    plots.append(over_steps([Series(name, recorded[name].steps, recorded[name].values, "#0072B2") for name in SINGLE[:3]], "loss", marks=marks))
    widths = {name.removeprefix("width/"): [(s, int(8 * v)) for s, v in zip(row.steps, row.values, strict=True)]
              for name, row in recorded.items() if name.startswith("width/")}  # fmt: skip
    plots.append(width_map(widths, dict.fromkeys(widths, 8), steps))
    return sum(len(plot.to_json()) for plot in plots)


def median(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    from cpd.runs.store import Store

    rows, total = [], {}
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place) / "runs.db")
        for steps in LENGTHS[: 3 if arguments.quick else None]:
            run = f"run-{steps}"
            written = fill(store, run, steps)
            recorded, events = store.metrics(run, most=600), store.events(run)
            times = 3 if arguments.quick else 9
            read = median(lambda run=run: (store.metrics(run, most=600), store.events(run)), times)
            drawn = median(lambda recorded=recorded, events=events, steps=steps: draw(recorded, events, steps), times)
            total[steps] = read + drawn
            points = max(len(row.steps) for row in recorded.values())
            rows.append((f"{steps:,}", f"{1000 * read:.0f}", f"{1000 * drawn:.0f}", points, f"{draw(recorded, events, steps) / 1e6:.2f}", f"{written * 1000:.1f}"))
        store.close()
    bench.table(("steps", "read, CPU ms", "drawn, CPU ms", "points a curve", "MB to the browser", "written, ms a 1,000 rows"), rows)
    longest = max(total)
    factor = total[longest] / total[1_000]
    figure = f"Reading and drawing a run of {longest:,} steps takes {total[longest]:.2f} s, {factor:.2f}x a run of 1,000."
    return bench.end(arguments, {"rows": rows, "seconds": total, "factor": factor}, figure, factor <= FACTOR and total[longest] < SECONDS)


if __name__ == "__main__":
    sys.exit(main())
