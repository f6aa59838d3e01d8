"""The processes that share one run: how torchrun is asked for them, and how each knows which one it is.

The first of them is the worker as it always is: it holds the lock, writes the store, the checkpoints and the result. The
others compute and write nothing (follower.py).
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from cpd.runs.spec import TRAINED, RunSpec

LONGEST_GOODBYE_S = 10  # between the end of one process and the kill of those that do not follow it

_SET_BY_TORCHRUN = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)
_LOST = re.compile(r"\bgloo\b|\bNCCL\b|ncclRemoteError|Connection (closed|reset|refused)|process group", re.I)


def place() -> tuple[int, int]:
    """This process's number and how many share its run; (0, 1) for a process of its own."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")), world) if world > 1 else (0, 1)


def processes_of(run_dir: Path) -> int:
    """How many processes the run in this folder asks for; 1 where that cannot be read, which its worker will say."""
    try:
        options = json.loads((run_dir / "spec.json").read_text())["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return 1
    return processes(options) if isinstance(options, Mapping) else 1


def processes(options: Mapping[str, object]) -> int:
    """How many processes a run with these options asks for."""
    number = options.get("processes", 1)
    return number if isinstance(number, int) and number > 1 else 1


def worker_command(run_dir: Path, python: str = sys.executable) -> list[str]:
    """What does the run in this folder, on any machine that sees it: the worker, behind torchrun where several share it."""
    number = processes_of(run_dir)
    prefix = [python, "-P"]
    if number > 1:
        prefix += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
        prefix += ["--local-addr=127.0.0.1", f"--shutdown-timeout={LONGEST_GOODBYE_S}"]
    return [*prefix, "-m", "cpd.runs.worker", str(run_dir)]


def worker_environment(run_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of that command, out of the one `given`."""
    plain = without_torchrun(given)
    if processes_of(run_dir) == 1:
        return plain
    from cpd.measure.machine import usable_cores

    # torchrun would set one thread; the engine shares the cores out itself, and gives them back for the measurements.
    wanted = {"OMP_NUM_THREADS": str(usable_cores()), "PYTHONSAFEPATH": "1"}
    if "lo" in {name for _, name in socket.if_nameindex()}:
        wanted["GLOO_SOCKET_IFNAME"] = "lo"  # they are on one machine: nothing of theirs leaves it
    return wanted | plain


def without_torchrun(given: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process of its own, started by one that shares a run."""
    if "TORCHELASTIC_RUN_ID" not in given:
        return dict(given)
    return {k: v for k, v in given.items() if k not in _SET_BY_TORCHRUN and not k.startswith("TORCHELASTIC_")}


def is_desertion(error: BaseException) -> bool:
    """Whether a process failed because another one of its run is gone. Known by name and text: torch need not be there."""
    if place()[1] == 1:
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool({"DistError", "DistBackendError", "DistNetworkError", "DistStoreError"} & names) or (
        isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
    )


def shares(spec: RunSpec) -> bool:
    """Whether this kind of work can be shared at all."""
    return spec.kind in TRAINED
