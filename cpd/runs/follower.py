"""The processes of a shared run but the first: they compute, and write nothing.

They see the run through the first one's files, and end when it does: its lock tells.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from cpd.distill.recorder import Silent
from cpd.errors import CpdError
from cpd.runs import jobs
from cpd.runs.checkpoint import newest
from cpd.runs.context import RunContext, Stopped
from cpd.runs.crew import LONGEST_GOODBYE_S, is_desertion, shares
from cpd.runs.lock import is_held
from cpd.runs.spec import RunSpec

_LOOK_S = 0.5


class Follower(Silent, RunContext):
    """A run, seen from a process that only computes."""

    leads = False

    def __init__(self, run_dir: Path, spec: RunSpec, root: Path | None) -> None:
        self.spec, self.run_dir, self.root = spec, run_dir, root
        self.told_to_stop = False
        self._stop = False

    def should_stop(self) -> bool:
        self.told_to_stop = self.told_to_stop or self._stop
        return self.told_to_stop

    def roll_back(self) -> int | None:
        return None

    def load(self) -> Any | None:
        """What the first process has just loaded."""
        restored = newest(self.run_dir / "checkpoints")
        return None if restored is None else restored.state

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


def follow(context: Follower) -> int:
    """Do this process's share; the exit status."""
    if not shares(context.spec):
        return 0
    lock = context.run_dir / "lock"
    threading.Thread(target=_end_with, args=(lock,), name="end with the first", daemon=True).start()
    try:
        jobs.find(context.spec.kind).run(context)
    except Stopped:
        return 0
    except BaseException as error:  # noqa: BLE001  the first process gives the run its name and its sentence
        traceback.print_exception(error)
        if not is_desertion(error):
            _wait_for_the_end_of(lock)
        return 1
    return 0


def leave(status: int) -> None:
    """End at once: what libraries do on their way out could fail, and the run would look as if it had."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end_with(lock: Path) -> None:
    seen = False
    while True:
        try:
            held = is_held(lock)
        except CpdError:
            held = seen
        if seen and not held:
            leave(0)
        seen = held
        time.sleep(_LOOK_S)


def _wait_for_the_end_of(lock: Path) -> None:
    """What fails here fails in the first process, too, as a rule: let it say so before torchrun ends it."""
    deadline = time.monotonic() + LONGEST_GOODBYE_S
    while time.monotonic() < deadline and is_held(lock):
        time.sleep(_LOOK_S)
