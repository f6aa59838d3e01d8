"""The whole demo as a new user walks it: from the first click to the pruned model on disk, in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import ROOT, SHOTS, Server

from cpd.runs.project import project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database, run_folder

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]  # four minutes on a quiet machine of two cores
SLOW = 120_000  # ms; background work on a busy machine
EPOCHS = 1


class Walk:
    """A light and a dark window that look at the same screens, and what went wrong in them."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.problems: list[str] = []
        self.light, self.dark = (self._window(browser, scheme) for scheme in ("light", "dark"))
        self.url = url

    def _window(self, browser: Browser, scheme: str) -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme, accept_downloads=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self._note(message.text) if "Content Security Policy" in message.text else None)
        page.on("request", lambda request: self._note(f"asks {request.url}") if not _local(request.url) else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        return page

    def _note(self, text: str) -> None:
        self.problems.append(text)

    def shoot(self, name: str) -> None:
        """This screen in light and in dark, whole."""
        SHOTS.mkdir(exist_ok=True)
        self.dark.goto(self.light.url)
        for scheme, page in (("light", self.light), ("dark", self.dark)):
            settled(page)
            # The page scrolls inside itself, so the window is made as tall as what it shows.
            height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
            page.set_viewport_size({"width": 1440, "height": max(900, min(int(height) + 20, 4000))})
            page.wait_for_timeout(700)
            page.screenshot(path=SHOTS / f"{name}-{scheme}.png")
            page.set_viewport_size({"width": 1440, "height": 900})


def _local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


def settled(page: Page) -> None:
    """Until the script has run and its charts are drawn."""
    page.wait_for_selector("[data-testid=stMain] h1")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=SLOW)
    page.wait_for_timeout(1200)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def metric(page: Page, label: str) -> str:
    tile = page.get_by_test_id("stMetric").filter(has_text=label).first
    return tile.get_by_test_id("stMetricValue").inner_text()


def until(found: Callable[[], bool], what: str, patience_s: float = 120.0) -> None:
    deadline = time.monotonic() + patience_s
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def type_ratio(page: Page, percent: str) -> None:
    """Type into the first row of "Asked for". The grid is a canvas: cells are reached by the keyboard."""
    page.locator(".dvn-scroller").first.click(position={"x": 100, "y": 54})
    for key in ("ArrowRight", "ArrowRight"):
        page.wait_for_timeout(200)
        page.keyboard.press(key)
    page.keyboard.type(percent, delay=150)
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")


def asked(plan: Path) -> float:
    """The ratio that the saved plan asks of its first group."""
    return float(json.loads(plan.read_text())["groups"][0]["requested"])


def test_the_demo_from_the_first_click_to_the_pruned_model(chromium: Browser, server: Server, tmp_path: Path) -> None:
    walk = Walk(chromium, server.url)
    page = walk.light

    # 1 Start: one click, then the baseline appears by itself.
    page.goto(server.url)
    walk.shoot("1-start-empty")
    page.get_by_role("button", name="Open this demo").first.click()
    expect(page.get_by_text("Getting to know the model")).to_be_visible(timeout=SLOW)
    walk.shoot("1-start-busy")
    expect(page.get_by_text("Baseline: the dense model as it is")).to_be_visible(timeout=SLOW)
    assert float(metric(page, "Accuracy (top-1)").split()[0]) >= 97
    expect(page.get_by_role("button", name="Next: Importance")).to_be_visible(timeout=SLOW)
    walk.shoot("1-start")

    # 2 Comb: a click on the picture selects a group.
    page.get_by_role("link", name="Comb", exact=True).click()
    settled(page)
    assert re.fullmatch(r"\d+ of \d+", metric(page, "Can be pruned"))
    before = page.url
    chart = page.get_by_test_id("stPlotlyChart").first
    chart.locator(".bars .point").nth(4).click(force=True)
    page.wait_for_url(lambda url: url != before and "group=" in url)
    walk.shoot("2-comb")

    # 3 Importance: score, then every view is there.
    page.get_by_role("button", name="Next: Importance").click()
    settled(page)
    walk.shoot("3-importance-empty")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.get_by_text("All groups by rank")).to_be_visible(timeout=SLOW)
    walk.shoot("3-importance")

    # 4 Plan: the solver reaches a quarter; undo and redo by keyboard.
    page.get_by_role("link", name="Plan", exact=True).click()
    settled(page)
    dense = metric(page, "MACs per sample")
    page.get_by_role("button", name="Solve", exact=True).click()
    until(lambda: metric(page, "MACs per sample") != dense, "the solver changes nothing")
    left = float(re.search(r"([\d.]+) % of", page.get_by_test_id("stMetric").first.inner_text())[1])  # type: ignore[index]
    assert 15 < left <= 25
    page.keyboard.press("Control+z")
    until(lambda: metric(page, "MACs per sample") == dense, "Ctrl+Z does not undo")
    page.keyboard.press("Control+y")
    until(lambda: metric(page, "MACs per sample") != dense, "Ctrl+Y does not redo")
    plan = project_folder(server.home, page.url.partition("project=")[2].partition("&")[0]) / "plan.json"
    type_ratio(page, "40")
    until(lambda: asked(plan) == 0.4, "a typed ratio is not saved")
    settled(page)
    page.keyboard.press("Control+z")
    until(lambda: asked(plan) != 0.4, "Ctrl+Z does not take back what was typed")
    walk.shoot("4-plan")

    # 5 Run: one click; the address finds it again after a reload, and after the app was killed and started again.
    page.get_by_role("button", name="Next: Run").click()
    settled(page)
    walk.shoot("5-run-empty")
    page.get_by_text("Budget and distillation").click()
    page.get_by_role("spinbutton", name="Epochs").fill(str(EPOCHS))
    page.get_by_role("spinbutton", name="Epochs").press("Enter")
    settled(page)
    page.get_by_role("button", name="Prune while distilling").click()
    expect(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)).to_be_visible(timeout=SLOW)
    store = Store(database(server.home))
    run = store.list_runs(kinds=("distill",))[0].id
    assert f"run={run}" in page.url
    until(lambda: any(s.steps for s in store.metrics(run, ["cost/macs"]).values()), "the run never cuts")
    walk.shoot("5-run-live")
    server.kill()
    killed_at = store.run(run).step
    server.start()
    page.goto(page.url)
    expect(page.get_by_text(run).first).to_be_visible(timeout=SLOW)
    until(lambda: store.run(run).step > killed_at or store.run(run).is_over, "the run stopped with the app")
    expect(page.get_by_text("Before and after, both measured on this machine")).to_be_visible(timeout=3 * SLOW)
    assert store.run(run).state == "finished"
    walk.shoot("5-run-finished")

    # The download opens again, without the app.
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the model").click()
    file = tmp_path / "pruned.safetensors"
    download.value.save_as(file)
    code = f"import cpd; m, x = cpd.load_model({str(file)!r}); m(*x); print(sum(p.numel() for p in m.parameters()))"
    counted = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.strip()
    said = json.loads((run_folder(server.home, run) / "result.json").read_text())["pruned"]["parameters"]
    assert int(counted) == said
    expect(page.get_by_test_id("stDataFrame").get_by_text(f"{said:,}", exact=True)).to_be_attached()
    assert not walk.problems, walk.problems[:5]
