"""The deadlines themselves: a wait for a process that never ends, and one that fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.runs.conftest import wait
from tests.within import join, within

# Says its child's number, and then nothing, as that child does, which holds the pipe, too.
MUTE = "import subprocess, sys, time; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"


def test_what_is_waited_for_in_vain_is_killed_with_what_it_started_and_named():
    start = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", MUTE], stdout=subprocess.PIPE, text=True) as process:
        child = psutil.Process(int(process.stdout.readline()))
        with pytest.raises(AssertionError, match=r"a word took more than 2 s"), within(process, 2, "a word"):
            process.stdout.read()
    assert time.monotonic() - start < 30
    wait(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30, "the end of what it started")


def test_what_fails_leaves_nobody_behind():
    process = subprocess.Popen([sys.executable, "-c", MUTE], stdout=subprocess.PIPE, text=True)
    with process, pytest.raises(ZeroDivisionError), within(process, 60, "a word"):
        _ = 1 / 0
    assert process.returncode == -9


def test_what_is_done_in_time_lives_on():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        with within(process, 60, "nothing"):
            pass
        assert process.poll() is None
        with within(process, 60, "its end"):
            process.communicate("\n")
    assert process.returncode == 0


def test_a_thread_that_does_not_end_is_said():
    stuck = threading.Thread(target=time.sleep, args=(5,), daemon=True)
    stuck.start()
    with pytest.raises(AssertionError, match=r"a nap: a thread has not ended in 0\.1 s"):
        join([stuck], 0.1, "a nap")
