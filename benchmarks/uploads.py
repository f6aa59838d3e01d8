"""How soon a hostile or broken upload is refused: the campaign of tests/uploads, through the process that the app starts.

Every file takes the whole way: bytes in, a copy in the project's folder, a checker started afresh with its limits, one
line back, everything removed. Wall time of each, by kind of file, and beside it the processor time of its checker, which
other work on the machine does not lengthen. Counted as well: payloads that ran, checkers that died, refusals that are not
one line, files left behind or outside the project's folder. Weights that are sound but of another network are tabled
without a bar: the first time somebody names a model, torch has to be imported to know its shapes. A file that takes
longer than the bar is offered up to twice more and its fastest time counts, because other work on the machine is not the
checker's; how often that happened is said. Bar: the slowest refusal under 1 s, and everything that is counted zero.
"""

from __future__ import annotations

import io
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import bench

sys.path.append(str(bench.ROOT / "tests" / "uploads"))

BAR_S, TRIES = 1.0, 3
Case = tuple[str, str, bytes]


def kinds(mark: str) -> dict[str, Iterator[Case]]:
    import hostile_archives as zips
    import hostile_weights as weights

    return {
        "pickle payloads": weights.pickled(mark),
        "state dicts, forged": weights.state_dicts(),
        "safetensors, forged": weights.forged(),
        "bundles, forged": weights.bundles(),
        "weights, misnamed": weights.misnamed(),
        "archives": zips.archives(),
        "sets to segment, broken": zips.sets(),
        "images in an archive": zips.images(),
    }


def spent() -> float:
    """Processor seconds of the processes that this one has started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(take: Callable[[], Any]) -> tuple[float, float, str]:
    """Wall and processor seconds until it is refused, and the line; "" where it was taken."""
    from cpd.errors import CpdError

    begin, before = time.perf_counter(), spent()
    try:
        take()
        line = ""
    except CpdError as error:
        line = str(error)
    return time.perf_counter() - begin, spent() - before, line


def run_kind(cases: list[Case], home: Path, project: Path, faults: dict[str, int]) -> dict[str, Any]:
    from cpd.uploads.receive import receive_data, receive_weights

    wall, cpu, worst, again = [], [], ("", 0.0), 0
    (project / "uploads").mkdir(exist_ok=True)
    clean = below(home)
    for what, name, data in cases:
        receive = receive_data if name.endswith(".zip") or ".zip" in name or what.startswith("the archive's") else receive_weights
        tries = []
        while not tries or (len(tries) < TRIES and min(tries)[0] >= BAR_S):
            tries.append(refused(lambda receive=receive, name=name, data=data: receive(name, io.BytesIO(data), project)))
        seconds, processor, line = min(tries)
        again += len(tries) - 1
        wall.append(seconds)
        cpu.append(processor)
        worst = max(worst, (what, seconds), key=lambda row: row[1])
        faults["taken"] += not line
        faults["died"] += "more memory or time" in line
        faults["said badly"] += bool(line) and (len(line.splitlines()) != 1 or not line.isprintable())
        faults["left behind"] += len(below(home) ^ clean)
    return {"files": len(cases), "wall": wall, "cpu": cpu, "slowest": worst[0], "again": again}


def other_network(home: Path) -> dict[str, list[float]]:
    """Sound weights of one network offered for another: the first time that its shapes are asked for, and then."""
    import numpy as np
    from safetensors.numpy import save

    from cpd.uploads.bring import bringing

    data, found = save({"fc.weight": np.zeros((3, 4), np.float32)}), {}
    for name in ("first time", "again"):
        take = bringing("timm:resnet18", ("w.safetensors", io.BytesIO(data)), None, {})
        seconds, cpu, line = refused(lambda take=take: take(home))
        assert "does not fit timm:resnet18" in line, line
        found[name] = [seconds, cpu]
    return found


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    bench.begin(arguments)
    load = os.getloadavg()[0]
    faults = dict.fromkeys(("executed", "taken", "died", "said badly", "left behind"), 0)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="cpd-uploads-") as folder:
        home = Path(folder) / "home"
        project, mark = home / "projects" / "p", Path(folder) / "mark"
        project.mkdir(parents=True)
        os.environ["CPD_CACHE"] = str(Path(folder) / "cache")
        for name, cases in kinds(str(mark)).items():
            rows[name] = run_kind(list(cases)[:: 4 if arguments.quick else 1], home, project, faults)
            faults["executed"] += os.path.lexists(mark)
        other = other_network(project)
    head = ["kind of file", "files", "median ms", "worst ms", "checker's CPU ms, median", "worst", "slowest"]
    ms = [[f"{1000 * f(row[key]):.0f}" for key in ("wall", "cpu") for f in (statistics.median, max)] for row in rows.values()]
    bench.table(head, [[name, row["files"], *cells, row["slowest"]] for (name, row), cells in zip(rows.items(), ms, strict=True)])
    for name, (seconds, cpu) in other.items():
        print(f"Weights of another network, {name}: {seconds:.2f} s, {cpu:.2f} s of CPU.")
    walls = list(chain.from_iterable(row["wall"] for row in rows.values()))
    again = sum(row["again"] for row in rows.values())
    print(f"Of {len(walls)} files: " + ", ".join(f"{count} {what}" for what, count in faults.items()) + f"; {again} offered again; load {load:.1f} before.")
    worst = max(walls)
    holds = worst < BAR_S and not any(faults.values())
    figure = f"{len(walls)} hostile or broken files refused, the slowest in {worst:.2f} s (bar {BAR_S:g} s), {sum(faults.values())} faults."
    result = {"kinds": rows, "other_network": other, "faults": faults, "worst_s": worst, "load_before": load}
    return bench.end(arguments, result, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
