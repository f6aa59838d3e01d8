"""Ctrl+K in a real browser: what is typed is found, Enter goes there, and the address says where; help beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect
from real_app import SHOTS, Server, settled

from app.steps import PAGES
from app.widgets.chrome import TERMS
from app.widgets.search import KEYS
from cpd.runs import control
from cpd.runs.project import create_project, project_folder
from cpd.runs.workspace import open_workspace
from tests.app import synthetic
from tests.app.finished_runs import finish

pytestmark = pytest.mark.browser
SLOW = 120_000  # ms; on a busy machine


@pytest.fixture
def page(chromium: Browser):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(SLOW)
    yield page
    context.close()


def press(page: Page, key: str) -> None:
    """Open a dialog; one that opens while the page is still being drawn for the first time goes with that drawing."""
    for _ in range(4):
        page.keyboard.press(key)
        try:
            page.get_by_role("dialog").wait_for(timeout=15_000)
            return
        except Error:
            continue
    raise AssertionError(f"{key} opens nothing")


def search(page: Page, text: str) -> None:
    press(page, "Control+k")
    field = page.get_by_role("dialog").get_by_role("combobox")
    expect(field).to_be_focused(timeout=SLOW)
    page.keyboard.type(text)
    expect(page.get_by_role("option").first).to_contain_text(text, timeout=SLOW)


def test_search_and_help(page: Page, server: Server) -> None:
    home = open_workspace(server.home)
    record = synthetic.chain()
    project = create_project(home, "small", "timm:chain", data="digits")
    other = create_project(home, "other", "timm:chain", data="digits")
    for each in (project, other):
        record.save(project_folder(home, each.id))
    finish(Path(home), other, record, "distill-far")
    control.annotate(home, "distill-far", "the boldest of all")

    page.goto(f"{server.url}/comb?project={project.id}")
    settled(page)
    search(page, "stage1.conv1")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "search.png")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/comb?" in url and "group=stage1.conv1" in url)
    expect(page.get_by_role("heading", name="stage1.conv1")).to_be_visible(timeout=SLOW)
    settled(page)

    search(page, "distill-far")  # of another project, found by its id, or by its note
    expect(page.get_by_role("option").first).to_contain_text("the boldest of all")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/run?" in url and f"project={other.id}" in url and "run=distill-far" in url)
    page.reload()  # the link says it all
    settled(page)
    expect(page.get_by_text("distill-far").first).to_be_visible(timeout=SLOW)

    press(page, "F1")
    words = page.get_by_role("dialog")
    expect(words).to_contain_text(TERMS["group"][:60], timeout=SLOW)
    for key, name, _ in KEYS:
        expect(words).to_contain_text(key, timeout=SLOW)
        expect(words).to_contain_text(f"{name}: ", timeout=SLOW)
    page.screenshot(path=SHOTS / "help.png")
    page.keyboard.press("Escape")
    expect(words).to_have_count(0)

    page.get_by_test_id("stSidebar").get_by_role("button", name="Search").click()  # the button beside the key
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused(timeout=SLOW)
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").nth(len(PAGES) - 1)).to_contain_text("screen", timeout=SLOW)
