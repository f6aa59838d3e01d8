"""For every test: nothing is read from or left in the user's cache, and nothing waits for ever.

pytest-timeout ends what hangs in a test (pyproject.toml), by an exception. It comes once a test, and a lock that nobody gives
back does not hear it, nor does what hangs after it: a fixture that is torn down, a process that is waited for on the way out.
So each phase of each test, and the end of the session, has a deadline beside it: every thread's stack is written down, and
this process ends.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

if "CPD_CACHE" not in os.environ:  # workers of a parallel run inherit the folder of the process that started them
    folder = tempfile.mkdtemp(prefix="cpd-traces-")
    os.environ["CPD_CACHE"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

# Ignored, as in a shell's background jobs, it would be in what tests start, and they interrupt that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MORE_S = 60.0  # than pytest-timeout gives a test: it can go on with the others
END_S = 180.0
said = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[said] = os.dup(2)  # what is written to 2 itself during a test is kept for its report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _within(item.config, _limit(item) + MORE_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _within(item.config, _limit(item) + MORE_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield from _within(item.config, END_S)


def pytest_sessionfinish(session: pytest.Session) -> None:
    faulthandler.dump_traceback_later(END_S, exit=True, file=session.config.stash[said])


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker and marker.args else item.config.getini("timeout"))


def _within(config: pytest.Config, seconds: float) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True, file=config.stash[said])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
