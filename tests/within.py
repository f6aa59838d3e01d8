"""Deadlines for processes that tests start: what waits for one of them ends, and says what it has waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil


@contextmanager
def within(process: Any, seconds: float, what: str) -> Iterator[None]:
    """Do the block in `seconds`, or `process` (anything with a pid) is killed with all that it started: its pipes then end.

    It is killed, too, where the block fails: nobody is left to end it.

    Raises:
        AssertionError: the time was up.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        kill_family(process.pid)

    alarm = threading.Timer(seconds, end)
    alarm.daemon = True
    alarm.start()
    try:
        yield
    except BaseException as error:
        kill_family(process.pid)
        if late.is_set():
            raise AssertionError(f"{what} took more than {seconds:g} s") from error
        raise
    finally:
        alarm.cancel()
    assert not late.is_set(), f"{what} took more than {seconds:g} s"


def kill_family(pid: int) -> None:
    """Kill a process and all that descend from it, as far as they are still there."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
        for process in family:  # none may start another one, or see one die, meanwhile
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def join(threads: list[threading.Thread], seconds: float, what: str) -> None:
    """Wait for threads, which ought to be daemons: none keeps the interpreter from its end."""
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), f"{what}: a thread has not ended in {seconds:g} s"
