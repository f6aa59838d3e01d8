"""An exclusive file lock that lasts exactly as long as its process.

flock(2): the kernel frees it on any death, so a free lock of a run that should be running means a crash, at once, with
no timeout and no process number that could have been reused. Lock files are never deleted: two processes could hold
"the" lock on an old and a new file of one name.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from cpd.files import storage_error

_PATIENCE_S = 2.0  # a process that only looks at the lock holds it for microseconds

_held: set[int] = set()


class FileLock:
    """Held from a successful `acquire` until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def acquire(self, patience_s: float = _PATIENCE_S) -> bool:
        """True when this process now holds the lock, False when another one does.

        Raises:
            StorageError: the lock file cannot be made.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise storage_error(error, self.path) from error
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(handle)
                    return False
                time.sleep(0.02)
        self._handle = handle
        _held.add(handle)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        except OSError:
            pass  # a full disk: the lock itself needs no space, only `holder` goes without an answer
        return True

    def release(self) -> None:
        if self._handle >= 0:
            _held.discard(self._handle)
            os.close(self._handle)
            self._handle = -1


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, path, "read") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def holder(path: Path) -> int | None:
    """Process number of who holds the lock, None when it is free or unknown."""
    if not is_held(path):
        return None
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _close_in_child() -> None:
    # A forked child (a data loader's) shares the lock and would keep it after the death of the worker. Closing its
    # copy leaves the worker's lock in place.
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
