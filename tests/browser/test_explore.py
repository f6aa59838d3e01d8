"""Exploring in a real browser: a group that is clicked anywhere is chosen everywhere; a real scan fills; heat maps appear."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import SHOTS, Server, settled

from app.charts.sensitivity import sensitivity_map
from app.sense import widths_of
from cpd.attribution.record import Attribution, load_arrays
from cpd.runs.project import create_project, project_folder
from cpd.runs.workspace import open_workspace
from cpd.sensitivity.table import SensitivityTable
from tests.app import scans, synthetic

pytestmark = pytest.mark.browser
SLOW = 120_000  # ms; background work on a busy machine

NETWORK = '''
import torch
from torch import nn

class Net(nn.Sequential):
    """Small enough that a whole scan takes seconds."""
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

example_inputs = (torch.zeros(2, 1, 32, 32),)
'''


@pytest.fixture
def page(chromium: Browser):
    context = chromium.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


def group_in(page: Page) -> str:
    """The group that the address names."""
    return parse_qs(urlparse(page.url).query).get("group", [""])[0]


def visible(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=SLOW)


def bars(page: Page):
    return page.locator("[data-testid=stPlotlyChart] .bars .point")


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.wait_for_timeout(800)
    page.screenshot(path=SHOTS / f"{name}.png", timeout=SLOW)


def test_a_group_that_is_clicked_is_chosen_on_every_screen(page: Page, server: Server) -> None:
    home = open_workspace(server.home)
    record = synthetic.chain((32,) * 150)
    project = create_project(home, "wide", "timm:chain", data="digits")
    folder = project_folder(home, project.id)
    record.save(folder)
    table = scans.scan(record)
    table.save(folder / "sensitivity.json")
    synthetic.table(record, "l2").save(folder / "scores" / "l2.json")

    page.goto(f"{server.url}/sensitivity?project={project.id}")
    settled(page)
    cells = sensitivity_map(table, widths_of(record)).data[0]
    expect(bars(page)).to_have_count(len(cells.y), timeout=SLOW)
    wanted = cells.customdata[400][0]
    bars(page).nth(400).click(force=True)
    page.wait_for_url(lambda url: f"group={wanted}" in url)
    visible(page, f"Where a step in width buys time · {wanted}")
    shoot(page, "explore-sensitivity-150")

    page.get_by_role("link", name="Importance", exact=True).click()
    settled(page)
    visible(page, f"Sorted scores · {wanted}")
    assert group_in(page) == wanted
    expect(bars(page)).to_have_count(300, timeout=SLOW)
    for number in (40, 150 + 70):  # a row of the map, a bar below it
        bars(page).nth(number).click(force=True)
        other = record.groups[number % 150].name
        page.wait_for_url(lambda url, other=other: f"group={other}" in url)
        visible(page, f"Sorted scores · {other}")
        settled(page)
    shoot(page, "explore-importance-150")

    page.get_by_role("link", name="Sensitivity", exact=True).click()
    settled(page)
    visible(page, f"Where a step in width buys time · {other}")
    page.reload()  # the link says it all
    settled(page)
    visible(page, f"Where a step in width buys time · {other}")


def test_a_scan_fills_the_screen_and_images_are_explained(page: Page, server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    home = open_workspace(server.home)
    project = create_project(home, "small", f"{tmp_path}/net.py:Net", data="digits", settings={"img_size": 32, "in_chans": 1})
    folder = project_folder(home, project.id)
    page.goto(f"{server.url}/sensitivity?project={project.id}")
    page.get_by_role("button", name="Comb the model").click()
    expect(page.get_by_text("Nothing has been measured")).to_be_visible(timeout=SLOW)
    page.get_by_role("radio", name="5", exact=True).click()
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(page.get_by_text("2 of 2").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="Scan again")).to_be_visible(timeout=SLOW)  # by itself, when the scan ends
    settled(page)
    table = SensitivityTable.load(folder / "sensitivity.json")
    assert table.done
    cells = sum(len(group.points) - 1 for group in table.groups.values())
    expect(bars(page)).to_have_count(cells, timeout=SLOW)
    expect(page.get_by_test_id("stMetric").filter(has_text="dense").first).to_contain_text(f"{100 * table.dense:.2f} %", timeout=SLOW)
    shoot(page, "explore-sensitivity-real")

    page.get_by_role("link", name="Importance", exact=True).click()
    settled(page)
    page.get_by_text("What the model looks at", exact=True).click()
    page.get_by_role("button", name="Explain", exact=True).click()
    expect(page.get_by_text("what speaks for")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Every map explains the dense model's answer")).to_contain_text("took", timeout=SLOW)
    settled(page)
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart.locator(".hm image")).to_have_count(1, timeout=SLOW)
    expect(chart.locator(".imagelayer image")).to_have_count(2, timeout=SLOW)
    found = Attribution.load(folder / "attributions" / "dense")
    assert found.done
    assert found.layer.endswith("8 × 8")
    assert set(load_arrays(folder / "attributions" / "dense", found.images[0].number)) == {"image", "gradcam.dense", "integrated.dense"}
    shoot(page, "explore-images-real")
