"""Looking back in a real browser: a run that is clicked is looked at everywhere, a story has no controls, and the offline
file draws itself without a network and prints."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import SHOTS, Server

from cpd.runs.project import Project, create_project, project_folder
from cpd.runs.workspace import open_workspace
from tests.app import synthetic
from tests.app.finished_runs import finish

pytestmark = pytest.mark.browser
SLOW = 120_000  # ms; a busy machine


@pytest.fixture
def project(server: Server) -> Project:
    """Three finished runs of one small chain."""
    home, record = open_workspace(server.home), synthetic.chain()
    made = create_project(home, "bench", "timm:chain", data="digits")
    record.save(project_folder(home, made.id))
    for name, lost, ms in (("a", 20, 4.0), ("b", 40, 3.0), ("c", 60, 5.0)):
        finish(home, made, record, f"distill-{name}", lost=range(lost), won=range(950, 960), ms=ms)
    return made


def opened(browser: Browser, address: str, **context: object) -> Page:
    page = browser.new_context(**({"viewport": {"width": 1440, "height": 1200}} | context)).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    settled(page)
    return page


def settled(page: Page) -> None:
    page.wait_for_selector("[data-testid=stMain] h1", timeout=SLOW)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=SLOW)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.wait_for_timeout(800)
    page.screenshot(path=SHOTS / f"{name}.png", timeout=SLOW)


def test_a_run_that_is_clicked_is_looked_at_everywhere_and_survives_a_refresh(chromium: Browser, server: Server, project: Project) -> None:
    page = opened(chromium, f"{server.url}/compare?project={project.id}&runs=distill-a,distill-b,distill-c&run=distill-a&axis=ms32")
    expect(page.get_by_text("What changed in A against the dense model")).to_be_visible(timeout=SLOW)
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart.locator(".scatterlayer .points path")).to_have_count(4, timeout=SLOW)  # three runs and the dense model
    chart.locator(".scatterlayer .points path").nth(1).click(force=True)
    expect(page.get_by_text("What changed in B against the dense model")).to_be_visible(timeout=SLOW)
    assert parse_qs(urlparse(page.url).query)["run"] == ["distill-b"]
    assert page.get_by_test_id("stMetricValue").first.inner_text() == "92.00 %"
    shoot(page, "7-compare-light")
    page.emulate_media(color_scheme="dark")
    page.reload()
    settled(page)
    expect(page.get_by_text("What changed in B against the dense model")).to_be_visible(timeout=SLOW)
    shoot(page, "7-compare-dark")


def test_the_story_alone_has_no_control_and_the_file_needs_no_network(chromium: Browser, server: Server, project: Project, tmp_path: Path) -> None:
    page = opened(chromium, f"{server.url}/present?project={project.id}&run=distill-b")
    with page.expect_download(timeout=SLOW) as loading:
        page.get_by_role("button", name="Download as one HTML file").click()
    file = tmp_path / "report.html"
    loading.value.save_as(file)
    assert file.stat().st_size < 6e6

    for width in (1440, 390):
        story = opened(chromium, f"{server.url}/present?project={project.id}&run=distill-b&view=present", viewport={"width": width, "height": 900})
        expect(story.get_by_role("heading", name="What we recommend").or_(story.get_by_text("5 · What we recommend"))).to_be_visible(timeout=SLOW)
        expect(story.get_by_test_id("stSidebar")).to_have_count(0)
        controls = [each for each in story.locator("button, input, select, textarea, a").all() if each.is_visible()]
        words = [each.inner_text().strip() or each.get_attribute("aria-label") or "" for each in controls]
        assert set(words) <= {"Help", "Skip to main content"}  # how a number was measured; for readers with a keyboard
        assert story.evaluate("document.documentElement.scrollWidth") <= width
        shoot(story, f"8-story-{width}")

    offline = chromium.new_context(offline=True, viewport={"width": 390, "height": 900})
    asked: list[str] = []
    alone = offline.new_page()
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("pageerror", lambda error: asked.append(str(error)))
    alone.goto(file.as_uri())
    for _ in range(30):
        alone.mouse.wheel(0, 700)
        alone.wait_for_timeout(60)
    expect(alone.locator(".chart")).to_have_count(3)
    expect(alone.locator(".chart .main-svg").first).to_be_attached()
    assert all(alone.locator(".chart").nth(i).locator(".main-svg").count() for i in range(3))
    assert alone.evaluate("document.documentElement.scrollWidth") <= 390
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    printed = alone.pdf(format="A4")
    assert 3 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page/") <= 16
    offline.close()
