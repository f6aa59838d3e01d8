"""For every test: nothing is read from or left in the user's cache, and nothing waits for ever.

pytest-timeout ends what hangs in a test (pyproject.toml), in Python. It comes once a test, and cannot end what hangs after it:
a fixture that is torn down, a process that is waited for on the way out, a call that never comes back from C. So each phase
of each test, and the end of the session, has a deadline beside it, which prints where every thread is and ends the process.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

if "CPD_CACHE" not in os.environ:  # workers of a parallel run inherit the folder of the process that started them
    folder = tempfile.mkdtemp(prefix="cpd-traces-")
    os.environ["CPD_CACHE"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

TEST_S = 660.0  # more than pytest-timeout, which can go on with the other tests, gives one
END_S = 180.0
said = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[said] = os.dup(2)  # what is written to 2 itself during a test is kept for its report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _phase(item.config, TEST_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _phase(item.config, TEST_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield from _phase(item.config, END_S)


def pytest_sessionfinish(session: pytest.Session) -> None:
    faulthandler.dump_traceback_later(END_S, exit=True, file=session.config.stash[said])


def _phase(config: pytest.Config, seconds: float) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True, file=config.stash[said])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background jobs; tests interrupt what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)

STUCK_S = 120.0  # past its time limit, which is an exception: a lock that nobody gives back does not hear that one
_STDERR = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ else 2


def _watch(item: pytest.Item) -> None:
    """Unless it is called again or off: every thread's stack is written down, and this process ends."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0]) if marker and marker.args else float(item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit + STUCK_S, exit=True, file=_STDERR)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _watch(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _watch(item)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    _watch(item)


def pytest_runtest_logfinish() -> None:
    faulthandler.cancel_dump_traceback_later()
