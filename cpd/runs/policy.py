"""How the runs of a workspace are treated, and which of those that wait may start now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cpd.access import require_owner
from cpd.errors import RunError, StorageError
from cpd.files import read_json, write_json
from cpd.runs.rows import Run

# Short work that does not wait behind a training. Everything else is heavy.
LIGHT = ("comb", "doctor", "score", "attribute")
# What times the machine, and must have it alone for that.
TIMED = ("measure", "profile", "trial", "sense", "share", "export")
MOST_PARALLEL = 64

_LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True)
class Policy:
    """The file policy.json of a workspace changes the defaults, e.g. {"parallel": 2}; it is read again when it changes.

    Attributes:
        parallel: heavy runs at one time.
        light: light runs at one time, beside the heavy ones.
        max_attempts: launches without any new checkpoint before a run is given up.
        backoff_s: pause before the second restart, doubled for each further one; the first is immediate.
        poll_s: pause between two looks.
        kill_after_s: a run that was told to stop or pause and has not is killed after this long.
    """

    parallel: int = 1
    light: int = 1
    max_attempts: int = 4
    backoff_s: float = 1.0
    poll_s: float = 0.25
    kill_after_s: float = 60.0

    @staticmethod
    def of(root: Path) -> Policy:
        """Raises StorageError when policy.json is there and does not fit."""
        path = root / "policy.json"
        if not path.exists():
            return Policy()
        row = read_json(path)
        allowed = {name: type(value) for name, value in asdict(Policy()).items()}
        good = isinstance(row, dict) and all(
            name in allowed and type(value) in (int, allowed[name]) and value >= 0 for name, value in row.items()
        )
        if not good:
            raise StorageError(f"{path}: give numbers, 0 or more, for any of {', '.join(allowed)}; it is not used.")
        return Policy(**row)

    def pause_s(self, attempts: int) -> float:
        """How long a run waits before it is started again after so many launches in vain."""
        return 0.0 if attempts < 2 else min(self.backoff_s * 2.0 ** min(attempts - 2, 10), _LONGEST_BACKOFF_S)


def set_parallel(root: Path, parallel: int) -> Policy:
    """Let so many heavy runs go on at one time from now on; 0 lets no further one start.

    Raises:
        RunError: not a possible number. StorageError: the workspace cannot be written.
    """
    require_owner("say how many runs go on at one time")
    if not 0 <= parallel <= MOST_PARALLEL:
        raise RunError(f"{parallel} runs at one time: give a number from 0 to {MOST_PARALLEL}.")
    policy = replace(Policy.of(root), parallel=parallel)
    changed = {name: value for name, value in asdict(policy).items() if value != getattr(Policy(), name)}
    write_json(root / "policy.json", changed)
    return policy


def startable(waiting: Sequence[Run], working: Sequence[Run], policy: Policy, now: float) -> list[Run]:
    """Which of the waiting runs, in the order of the queue, may start beside those that are at work.

    A heavy run never overtakes another. What times the machine waits until nothing else is going on, and keeps
    everything else waiting for as long as it takes, which is short.
    """
    working = list(working)
    chosen: list[Run] = []
    blocked = ""  # kind of the first run that has to wait
    for run in waiting:
        # A wait longer than any back-off means that the clock has jumped since: it is over.
        resting = now < run.not_before <= now + _LONGEST_BACKOFF_S
        timing = any(other.kind in TIMED for other in working)
        light = [other for other in working if other.kind in LIGHT]
        if run.kind in LIGHT:
            patient = blocked in TIMED and len(light) == len(working)
            free = not timing and not patient and len(light) < policy.light
        elif blocked:
            continue
        elif run.kind in TIMED:
            free = not working and policy.parallel > 0
        else:
            free = not timing and len(working) - len(light) < policy.parallel
        if free and not resting:
            working.append(run)
            chosen.append(run)
        elif run.kind not in LIGHT:
            blocked = run.kind
    return chosen
