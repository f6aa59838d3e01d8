"""Check this machine; with a SPEC, try whether the model can be combed, cut, trained, saved and opened again."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpd import __version__
from cpd.cli import options
from cpd.errors import CpdError, StorageError

HELP = "machine, versions, device; with SPEC: does everything work on this model"
_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "streamlit", "plotly", "safetensors", "segmentation-models-pytorch")


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, optional=True)
    parser.add_argument("--ratio", type=float, default=0.5, metavar="R", help="pruning ratio of the trial cut (default 0.5)")
    options.add_device(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    steps = _Steps(quiet=arguments.json == "-")
    machine(steps, arguments.device)
    if arguments.spec and steps.well:
        from cpd.cli.trial import try_model

        try_model(steps, arguments)
    if arguments.json:
        options.write_json(arguments.json, {"schema": 1, "well": steps.well, "steps": steps.rows})
    return steps.status


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
        try:
            ok, text = True, check()
        except CpdError as error:
            ok, text, self.status = False, str(error), 2
        except Exception as error:  # noqa: BLE001  a check that breaks is a finding, not the end of the doctor
            ok, text = False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.status = self.status or 1
        seconds = time.perf_counter() - start
        self.rows.append({"step": name, "ok": ok, "found": text, "seconds": round(seconds, 3)})
        if not self.quiet:
            print(f"{'ok  ' if ok else 'FAIL'}  {name:<12} {text}{f'  ({seconds:.1f} s)' if seconds > 0.5 else ''}", flush=True)
        return ok


def machine(steps: _Steps, device: str) -> None:
    """Python, packages, device and disk."""
    from cpd.measure.machine import device_name, pick_device, processor_name

    steps.do("cpd", lambda: f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    steps.do("machine", lambda: f"{processor_name()}, {_memory_gib():.0f} GiB memory")
    steps.do("packages", _versions)

    def chosen() -> str:
        place = pick_device(device)
        return f"{place}: {device_name(place)}"

    steps.do("device", chosen)
    steps.do("workspace", _workspace)


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _memory_gib() -> float:
    import psutil

    return float(psutil.virtual_memory().total) / 2**30


def _workspace() -> str:
    from cpd.runs.workspace import workspace_root

    root = workspace_root()
    place = next(p for p in (root, *root.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{place}: cannot be written ({error.strerror}); set CPD_HOME to a folder that can.") from error
    return f"{root}, {shutil.disk_usage(place).free / 2**30:.0f} GiB free"


def trial_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cpd-doctor-")


def size_mib(path: Path) -> float:
    return path.stat().st_size / 2**20
