"""A real server, real workers and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright
from real_app import Server

FLAGS = ("--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync").split()  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, else Playwright's own; skipped where there is none, failed for that in CI."""
    found = os.environ.get("CPD_BROWSER") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found or None, args=FLAGS)
        except Error as error:
            text = f"no Chromium: install chromium, or name one in CPD_BROWSER ({str(error).splitlines()[0]})"
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(text)
            pytest.skip(text)
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "home")
    try:
        yield started
    finally:
        started.end()
