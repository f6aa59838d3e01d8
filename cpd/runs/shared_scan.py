"""One sensitivity scan by several workers: whoever is free takes the next group that nobody has.

They meet in a folder of the scan's run, which all of them see. A group is taken with a file lock, which the kernel gives back
on any death, so that what a dead worker was at is done by another one; what was measured of it is a file, written whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cpd.files import make_folder, read_json, write_json
from cpd.runs.lock import FileLock
from cpd.runs.spec import RunSpec
from cpd.sensitivity.table import GroupSensitivity, Point
from cpd.sensitivity.turns import Alone, Found

NODES, SCAN = "nodes", "scan"  # options: how many workers share the scan; of those that help, the run that they help
FOLDER, CLOSED = "shared", "closed.json"
_LOOK_S = 0.2
_PATIENCE_S = 600.0  # with workers that hold a group and finish none: then it is measured a second time


def helpers(spec: RunSpec, run: str) -> list[RunSpec]:
    """The runs that share the scan `run` with it: none, unless it asks for several nodes."""
    nodes = spec.options.get(NODES, 1) if spec.kind == "sense" else 1
    options = {name: value for name, value in spec.options.items() if name != NODES} | {SCAN: run}
    return [replace(spec, kind="share", options=options)] * (nodes - 1 if isinstance(nodes, int) else 0)


class Shared(Alone):
    """A worker among several.

    Args:
        run_dir: of the scan.
        leads: gathers what all have measured, and ends when nothing is left. Any other one ends once it has nothing to do.
    """

    def __init__(self, run_dir: Path, leads: bool) -> None:
        self._folder, self._leads = make_folder(run_dir / FOLDER), leads
        self._files: dict[str, Path] = {}
        if leads:
            write_json(self._folder / CLOSED, False)

    def close(self) -> None:
        """Said by the one that leads when it leaves, for whatever reason."""
        write_json(self._folder / CLOSED, True)

    @property
    def is_over(self) -> bool:
        path = self._folder / CLOSED
        return not self._leads and path.exists() and bool(read_json(path))

    def agreed(self, scores: Callable[[], str]) -> str:
        """The scores that units go by: as the first of all workers had them."""
        path, lock = self._folder / "scores.json", FileLock(self._folder / "scores.lock")
        lock.acquire(_PATIENCE_S)
        try:
            if not path.exists():
                write_json(path, scores())
            return str(read_json(path))
        finally:
            lock.release()

    def turns(self, names: Sequence[str], check: Callable[[], None]) -> Iterator[tuple[str, Found | None]]:
        self._files = {name: self._folder / f"{number:05d}.json" for number, name in enumerate(names)}
        left, latest = list(names), time.monotonic()
        while left:
            before = len(left)
            for name in list(left):
                if self.is_over:
                    return
                lock = FileLock(self._files[name].with_suffix(".lock"))
                if lock.acquire(0.0) or self._files[name].exists() or time.monotonic() - latest > _PATIENCE_S:
                    try:
                        yield name, self._found(name)
                    finally:
                        lock.release()
                    left.remove(name)
                    latest = time.monotonic()
            if len(left) == before:  # others are at all of them
                if not self._leads:
                    return
                check()
                time.sleep(_LOOK_S)

    def keep(self, name: str, found: Found) -> None:
        write_json(self._files[name], asdict(found))

    def _found(self, name: str) -> Found | None:
        if not self._files[name].exists():
            return None
        row = read_json(self._files[name])
        group = row["group"]
        points = tuple(Point(**point) for point in group["points"])
        return Found(GroupSensitivity(points, group["stopped"], tuple(group["tied"])), row["dense_latency_ms"])
