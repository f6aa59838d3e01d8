"""The app as a real process on a workspace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from cpd.runs.launcher import Handle, LocalLauncher
from cpd.runs.store import Store
from cpd.runs.workspace import database, run_folder

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "test-results"
SLOW = 120_000  # ms; on a busy machine


class Server:
    """`python -m app.serve` on a workspace of its own; it can be killed and started again on the same port."""

    def __init__(self, home: Path, prepare: Callable[[Server], None] | None = None) -> None:
        """`prepare` is called before the first start: it may set `options` and `environment`, and knows the port."""
        self.options: list[str] = []
        self.environment: dict[str, str] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.home = home
        self.url = f"http://127.0.0.1:{self.port}"
        if prepare is not None:
            prepare(self)
        self.start()

    def start(self) -> None:
        environment = os.environ | {"CPD_HOME": str(self.home), "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"} | self.environment
        command = [sys.executable, "-m", "app.serve", "--port", str(self.port), *self.options]
        with open(self.home.parent / "server.log", "a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        for _ in range(300):
            assert self.process.poll() is None, (self.home.parent / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        self.kill()
        raise AssertionError("the server does not answer")

    def end(self) -> None:
        """Nothing that this server started outlives the test."""
        self.kill()
        if not database(self.home).exists():
            return
        store, launcher = Store(database(self.home)), LocalLauncher()
        for run in store.unfinished():
            store.finish(run.id, "stopped")
            launcher.cancel(Handle(run_folder(self.home, run.id), 0), force=True)

    def kill(self) -> None:
        """As a crash would: no chance to clean up."""
        self.process.kill()
        self.process.wait(10)


def settled(page: Page) -> None:
    """Until the script has run, without an error."""
    page.wait_for_selector("[data-testid=stMain] h1")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=SLOW)
    expect(page.get_by_test_id("stException")).to_have_count(0)
