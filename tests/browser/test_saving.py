"""Charts saved from a real page: the table is what the chart draws, the pictures are whole, and nothing is rerun."""

from __future__ import annotations

import csv
import io
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from real_app import Server

from app.sense import widths_of
from cpd.runs.project import create_project, project_folder
from cpd.runs.workspace import open_workspace
from tests.app import scans, synthetic

pytestmark = pytest.mark.browser
SLOW = 120_000  # ms; on a busy machine
SCRIPT = "/_stcore/bidi-components/cpd.saving/saving.js"


@pytest.fixture
def page(chromium: Browser):
    context = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    yield page
    context.close()


def saved(page: Page, chart: Locator, kind: str) -> tuple[str, bytes]:
    """Name and content of the file that the menu of a chart gives."""
    chart.get_by_role("button", name="Save this chart").click()
    with page.expect_download() as download:
        chart.get_by_role("menuitem", name=kind).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_every_chart_can_be_saved(page: Page, server: Server) -> None:
    home = open_workspace(server.home)
    record = synthetic.chain()
    project = create_project(home, "small", "timm:chain", data="digits")
    folder = project_folder(home, project.id)
    record.save(folder)
    table = scans.scan(record)
    table.save(folder / "sensitivity.json")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{server.url}/sensitivity?project={project.id}")
    charts = page.get_by_test_id("stPlotlyChart")
    expect(charts).to_have_count(4, timeout=SLOW)
    expect(page.get_by_role("button", name="Save this chart")).to_have_count(4, timeout=SLOW)

    chosen = record.groups[0].name
    name, content = saved(page, charts.first, "CSV")
    assert name.startswith("accuracy-against-pruning-ratio")
    found = rows(content)
    assert set(found[0]) == {"series", "group", "units kept", "images", "Pruning ratio of that group alone", "Accuracy"}
    one = [row for row in found if row["series"] == chosen]
    points = table.groups[chosen].points
    assert [int(row["units kept"]) for row in one] == [point.kept for point in points]
    assert [float(row["Accuracy"]) for row in one] == [point.value for point in points]
    width = widths_of(record)[chosen]
    assert [float(row["Pruning ratio of that group alone"]) for row in one] == pytest.approx([1 - p.kept / width for p in points])
    assert {row["group"] for row in found if row["series"] == "other groups"} == {group.name for group in record.groups[1:]}

    name, content = saved(page, charts.nth(2), "SVG")  # the map of all groups: a bar a cell
    cells = sum(len(group.points) - 1 for group in table.groups.values())
    root = ElementTree.fromstring(content)
    assert name.endswith(".svg")
    assert len(root.findall(".//{*}g[@class='point']")) == cells
    assert not root.findall(".//{*}g[@class='hoverlayer']")
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {group.name for group in record.groups} <= texts
    assert b"url(#" in content
    assert b"url(http" not in content
    size = tuple(int(3 * float(root.attrib[side])) for side in ("width", "height"))

    name, content = saved(page, charts.nth(2), "PNG")
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == size
    assert len(content) > 5_000  # not a blank sheet
    assert not problems

    # by keyboard: down to SVG, and out again
    button = charts.nth(1).get_by_role("button", name="Save this chart")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(charts.nth(1).get_by_role("menuitem", name="SVG")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(charts.nth(1).get_by_role("menu")).to_be_hidden()

    # what a spreadsheet would run, a cell with quotes, a trace that is hidden, and a cell of a heat map
    text = page.evaluate(
        """async script => { const made = await import(script); return made.csv(made.table([
            {name: 'a', x: [1, null, 2], y: ['=1+1', null, 'b "c", d'], visible: true},
            {name: 'b', x: [9], y: [9], visible: 'legendonly'},
            {name: 'c', x: ['p'], y: ['q', 'r'], z: [[0.5], [0.25]], meta: {z: 'score'}},
        ], {xaxis: {title: {text: 'Step'}}})) }""",
        SCRIPT,
    )  # fmt: skip
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["series", "Step", "y", "score"],
        ["a", "1", "'=1+1", ""],
        ["a", "2", 'b "c", d', ""],
        ["c", "p", "q", "0.5"],
        ["c", "p", "r", "0.25"],
    ]
