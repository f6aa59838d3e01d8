"""Check this machine; with a SPEC, try cuts of every group: forward, backward, saved and opened again.

Exit status 0: all is well; 1: something is broken, or a group had to be locked; 2: what was asked for cannot be done.
The table at the end is Markdown, to be pasted into an issue.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from cpd.cli import options
from cpd.errors import CpdError, StorageError

HELP = "machine, versions, device; with SPEC: trial cuts of every group of this model"


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, optional=True)
    parser.add_argument(
        "--ratio",
        type=float,
        action="append",
        metavar="R",
        help="pruning ratio of a trial cut; repeat (default 0.25, 0.5 and 0.9)",
    )
    options.add_timeout(parser)
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="seconds for cutting groups one by one (default 600); "
                        "the rest are then cut together only")  # fmt: skip
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    options.check_writable(arguments.json)
    steps = _Steps(quiet=arguments.json == "-")
    machine(steps, arguments.device)
    findings = None
    if arguments.spec and steps.well:
        from cpd.cli.trial import try_model

        findings = try_model(steps, arguments)
    if arguments.json:
        row = {"schema": 2, "well": steps.well, "steps": steps.rows, "findings": findings and findings.to_dict()}
        options.write_json(arguments.json, row)
    if findings and arguments.json != "-":
        print(f"\n{findings.table()}")
    return steps.status


class Unwell(Exception):
    """A check came to its end, and what it found, in words, is not well."""


class _Steps:
    """Checks done one after another, each shown as it ends."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.rows: list[dict[str, Any]] = []
        self.status = 0  # 2 where something that was asked for is not there, 1 where something is broken

    @property
    def well(self) -> bool:
        return all(row["ok"] for row in self.rows)

    def do(self, name: str, check: Callable[[], str]) -> bool:
        """Run a check that returns what it found, or raises what is wrong."""
        start = time.perf_counter()
        refused = False  # what was asked for cannot be done: said on stderr, as every command does
        try:
            ok, text = True, check()
        except CpdError as error:
            ok, text, self.status = False, str(error), 2
            refused = True
        except Unwell as error:
            ok, text, self.status = False, str(error), self.status or 1
        except Exception as error:  # noqa: BLE001  a check that breaks is a finding, not the end of the doctor
            ok, text = False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.status = self.status or 1
        seconds = time.perf_counter() - start
        self.rows.append({"step": name, "ok": ok, "found": text, "seconds": round(seconds, 3)})
        if not self.quiet:
            said = "" if refused else f"{text}{f'  ({seconds:.1f} s)' if seconds > 0.5 else ''}"
            print(f"{'ok  ' if ok else 'FAIL'}  {name:<12} {said}".rstrip(), flush=True)
        if refused:
            print(text, file=sys.stderr)
        return ok


def machine(steps: _Steps, device: str) -> None:
    """Python, packages, device and disk."""
    from cpd.measure.machine import device_name, pick_device, surroundings

    for name, text in surroundings().items():
        steps.do(name, lambda text=text: text)  # type: ignore[misc]

    def chosen() -> str:
        place = pick_device(device)
        return f"{place}: {device_name(place)}"

    steps.do("device", chosen)
    steps.do("workspace", _workspace)


def _workspace() -> str:
    from cpd.runs.workspace import workspace_root

    root = workspace_root()
    place = next(p for p in (root, *root.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"{place}: cannot be written ({error.strerror}); set CPD_HOME to a folder that can."
        ) from error
    return f"{root}, {shutil.disk_usage(place).free / 2**30:.0f} GiB free"
