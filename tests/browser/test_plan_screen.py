"""Editing a plan of 150 groups by hand, in a real browser: brush, type, paste, fill, undo, branch, and find it all again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import ROOT, SHOTS, Server

from cpd.prune.plan import Plan
from cpd.runs.project import create_project, project_folder
from cpd.runs.workspace import open_workspace

sys.path.append(str(ROOT / "tests" / "app"))
import synthetic

pytestmark = pytest.mark.browser
GROUPS, WIDTH = 150, 64
SLOW = 60_000
ASKED = 3  # column of the table: tick, group, units, asked for


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with everything a plan can show, and no worker."""
    home = open_workspace(tmp_path / "home")
    made = create_project(home, "wide", "timm:chain", data="digits", settings={"num_classes": 10})
    found, record = project_folder(home, made.id), synthetic.chain((WIDTH,) * GROUPS, locked=(20,))
    record.save(found)
    synthetic.table(record, "fisher").save(found / "scores" / "fisher.json")
    synthetic.latency_table(record).save(found / "latency.json")
    synthetic.sensitivity_table(record).save(found / "sensitivity.json")
    return found


@pytest.fixture
def page(chromium: Browser, folder: Path, server: Server) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 1800})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert not problems, problems[:3]


def shown(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_test_id("data-grid-canvas").first).to_be_visible(timeout=2 * SLOW)
    expect(page.locator("[data-testid=stPlotlyChart] .nsewdrag")).to_be_attached(timeout=SLOW)
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0, timeout=SLOW)


def settled(page: Page) -> None:
    """Until the script has run and what it drew stands still."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(1500)


def until(found: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def brush(page: Page, first: float, last: float) -> None:
    """Drag across the chart, between two shares of its width."""
    settled(page)  # a redrawn chart is another element
    area = page.locator("[data-testid=stPlotlyChart] .nsewdrag").first.bounding_box()
    assert area is not None
    left, right = (area["x"] + area["width"] * share for share in (first, last))
    page.mouse.move(left, area["y"] + 30)
    page.mouse.down()
    page.mouse.move((left + right) / 2, area["y"] + 34, steps=5)
    page.mouse.move(right, area["y"] + 34, steps=5)
    page.mouse.up()


def cell(page: Page, row: int) -> None:
    """Click on "Asked for" in a row."""
    page.locator(".dvn-scroller").first.click(position={"x": 260, "y": 54 + 35 * row})
    page.wait_for_timeout(400)


def asked(folder: Path, count: int = 6) -> list[float]:
    """What the saved plan asks of the first groups, in percent."""
    return [round(100 * row["requested"], 1) for row in json.loads((folder / "plan.json").read_text())["groups"][:count]]


def test_a_plan_of_150_groups_is_edited_by_hand_and_found_again(page: Page, folder: Path, server: Server) -> None:
    shown(page, f"{server.url}/plan?project={folder.name}")

    # Brush, then one action for all that was brushed. The selection outlives the chart's redraws.
    brush(page, 0.1, 0.3)
    expect(page.get_by_text("selected groups")).to_be_visible(timeout=SLOW)
    count = int(page.get_by_test_id("stSlider").inner_text().split("Ratio of ")[1].split()[0])
    assert 25 <= count <= 32  # a fifth of 150 groups, less the locked one
    page.get_by_test_id("stSlider").locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    until(lambda: (folder / "plan.json").exists() and sum(row.requested == 0.01 for row in Plan.load(folder / "plan.json").groups) == count, "not all are set")
    page.get_by_role("button", name="Reset", exact=True).click()
    until(lambda: not any(Plan.load(folder / "plan.json").ratios.values()), "not all are reset")
    expect(page.get_by_text(f"{count} selected groups")).to_be_visible()
    brush(page, 0.8, 0.9)
    expect(page.get_by_text(f"{count} selected groups")).to_have_count(0, timeout=SLOW)
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_text("that are not held")).to_be_visible(timeout=SLOW)

    # Type; Enter goes to the next row, and what is typed there counts as well.
    settled(page)  # the names of the selection stood above the table, which moves
    cell(page, 0)
    page.keyboard.type("40", delay=400)
    page.keyboard.press("Enter")
    until(lambda: asked(folder, 2) == [40, 0], "a typed ratio is not saved")
    page.wait_for_timeout(800)
    page.keyboard.type("30", delay=400)
    page.keyboard.press("Enter")
    until(lambda: asked(folder, 2) == [40, 30], "the cursor does not move on")

    # Paste a column where the cursor is, fill a range down.
    page.evaluate("navigator.clipboard.writeText('10\\n20\\n30.5\\n50')")
    page.wait_for_timeout(800)
    page.keyboard.press("Control+v")
    until(lambda: asked(folder) == [40, 30, 10, 20, 30.5, 50], "a pasted column is not taken")
    cell(page, 0)
    page.keyboard.down("Shift")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.up("Shift")
    page.keyboard.press("Control+d")
    until(lambda: asked(folder) == [40, 40, 40, 40, 30.5, 50], "Ctrl+D does not fill")

    # Back and forth, one whole action at a time.
    page.keyboard.press("Control+z")
    until(lambda: asked(folder) == [40, 30, 10, 20, 30.5, 50], "the fill is not undone")
    page.keyboard.press("Control+z")
    until(lambda: asked(folder) == [40, 30, 0, 0, 0, 0], "the paste is not undone")
    page.keyboard.press("Control+y")
    until(lambda: asked(folder) == [40, 30, 10, 20, 30.5, 50], "the paste is not done again")

    # A branch, a search and a view stand in the address.
    page.get_by_role("button", name="New branch").click()
    page.get_by_label("Name", exact=True).fill("bolder")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("button", name="Start it here").click()
    page.wait_for_url("**branch=bolder**")
    page.keyboard.press("Escape")
    page.get_by_label("Find groups").fill("stage1")
    page.wait_for_url("**find=stage1**")
    expect(page.get_by_test_id("glide-cell-1-0")).to_have_text("stage1.conv0", timeout=SLOW)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "plan-150.png")
    address = page.url

    # The app is killed; the same address shows the same, and what was done can still be undone.
    server.kill()
    server.start()
    shown(page, address)
    expect(page.get_by_test_id("glide-cell-1-0")).to_have_text("stage1.conv0", timeout=SLOW)
    assert page.get_by_label("Find groups").input_value() == "stage1"
    expect(page.get_by_role("combobox", name="Branch")).to_have_value("bolder", timeout=SLOW)
    settled(page)
    page.keyboard.press("Control+z")
    until(lambda: asked(folder) == [40, 30, 0, 0, 0, 0], "the history is lost with the app")


def test_ctrl_z_pressed_while_an_edit_is_being_drawn_takes_back_that_edit_and_no_other(page: Page, folder: Path, server: Server) -> None:
    shown(page, f"{server.url}/plan?project={folder.name}")
    kept = [0.0] * 6
    for row, value in enumerate((40, 30, 20)):
        cell(page, row)
        page.keyboard.type(str(value), delay=400)
        page.keyboard.press("Enter")
        kept[row] = value
        until(lambda: (folder / "plan.json").exists() and asked(folder) == kept, "a typed ratio is not saved")
        page.keyboard.press("Control+z")  # the page is not drawn yet
        before = [*kept[:row], 0.0, *kept[row + 1 :]]
        until(lambda before=before: asked(folder) == before, "the edit is not taken back")
        page.keyboard.press("Control+y")
        until(lambda: asked(folder) == kept, "the edit is not done again")
        settled(page)
        assert asked(folder) == kept
    for _ in range(2):  # before the table has told of the edit
        cell(page, 5)
        page.keyboard.type("77", delay=400)
        page.keyboard.press("Enter")
        page.keyboard.press("Control+z")
        settled(page)
        until(lambda: "0.77" in (folder / "branches" / "main.json").read_text(), "the edit is lost")
        until(lambda: asked(folder) == kept, "another edit than the last is taken back")
    page.evaluate("navigator.clipboard.writeText('11\\n12\\n13\\n14\\n15\\n16')")
    cell(page, 0)
    page.keyboard.press("Control+v")
    until(lambda: asked(folder) == [11, 12, 13, 14, 15, 16], "a pasted column is not taken")
    page.keyboard.press("Control+z")
    until(lambda: asked(folder) == kept, "the paste is not taken back")
    settled(page)
    assert asked(folder) == kept
    expect(page.get_by_test_id(f"glide-cell-{ASKED}-0")).to_have_text("40", timeout=SLOW)
