"""How soon an edit of a plan with 150 groups is seen: a real server, a real Chromium, the clock inside the page.

A made-up chain of 150 convolutions with scores, a latency profile and a sensitivity scan, so that every figure and every
column of the Plan screen is there. For each kind of edit two times, from the key or the mouse button to: the tiles say
something else, and the last change of anything on the page (the chart, the table's cells, the buttons). Beside them the
processor time that an edit costs the server and the browser, which other work on the machine does not lengthen. Bar: the
tiles within 300 ms in the median of every kind of edit. Selecting changes no tile: what is timed there is the line below
the chart that says how many groups are selected, and it is tabled without a bar.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import bench
import numpy as np

sys.path += [str(bench.ROOT / "tests" / "app"), str(bench.ROOT / "tests" / "browser")]

GROUPS, WIDTH, BAR_MS = 150, 128, 300.0  # so wide that one percent more is another width
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync".split()
SELECTING = ("brush groups", "clear the selection")
# Times the way from the last key or mouse button of an edit to what it changes on the page.
WATCH = """
window.watch = {
  tiles: () => [...document.querySelectorAll('[data-testid=stMetric], [data-testid=stSlider] label')].map(e => e.innerText).join('|'),
  begin() { Object.assign(this, {start: null, seen: null, last: null, before: this.tiles()}) },
};
const start = event => { if (!['Control', 'Shift'].includes(event.key)) window.watch.start = performance.now() };
for (const kind of ['keydown', 'mouseup']) window.addEventListener(kind, start, true);
new MutationObserver(() => {
  const w = window.watch; if (!w.start) return;
  w.last = performance.now();
  if (!w.seen && w.tiles() !== w.before) requestAnimationFrame(() => { w.seen = w.seen || performance.now() });
}).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
"""


def project(home: Path) -> None:
    """A project on disk that needs no worker."""
    import synthetic

    from cpd.prune.plan import uniform_plan
    from cpd.runs.project import create_project, project_folder
    from cpd.runs.workspace import open_workspace

    made = create_project(open_workspace(home), "editor", "timm:chain", data="digits", settings={"num_classes": 10})
    folder, record = project_folder(home, made.id), synthetic.chain((WIDTH,) * GROUPS)
    record.save(folder)
    synthetic.table(record, "fisher").save(folder / "scores" / "fisher.json")
    synthetic.latency_table(record).save(folder / "latency.json")
    synthetic.sensitivity_table(record).save(folder / "sensitivity.json")
    uniform_plan(record, 0.4).save(folder / "plan.json")


def spent(server: int) -> tuple[float, float]:
    """Processor milliseconds of the server and of everything else that this process started: the browser."""
    import psutil

    own, other = 0.0, 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            own, other = (own + used.user + used.system, other) if child.pid == server else (own, other + used.user + used.system)
    return 1000 * own, 1000 * other


def timed(page: Any, server: int, action: Callable[[], None]) -> tuple[float, ...]:
    """Milliseconds until the tiles change and until nothing changes any more, and what server and browser computed."""
    page.evaluate("watch.begin()")
    before = spent(server)
    action()
    deadline = time.monotonic() + 20
    while not page.evaluate("watch.seen && performance.now() - watch.last > 900"):  # the page's policy forbids longer waits inside it
        assert time.monotonic() < deadline, "the edit changes nothing"
        page.wait_for_timeout(150)
    used = [after - start for after, start in zip(spent(server), before, strict=True)]
    return (*page.evaluate("[watch.seen - watch.start, watch.last - watch.start]"), *used)


def edits(page: Any) -> dict[str, Callable[[int], None]]:
    """Every kind of edit, as what a hand does; the number makes each one different."""
    box = page.locator("[data-testid=stPlotlyChart] .nsewdrag").first
    slider = page.locator("[data-testid=stSlider] input[type=range]").first

    def type_(number: int) -> None:
        page.locator(".dvn-scroller").first.click(position={"x": 270, "y": 54 + 35 * (number % 8)})
        page.wait_for_timeout(200)
        page.keyboard.type(str(20 + number), delay=400)  # the first key opens the cell, which takes a moment the first time
        page.wait_for_timeout(400)
        page.keyboard.press("Enter")

    def brush(number: int) -> None:
        area = box.bounding_box()
        left, right = (area["x"] + area["width"] * share for share in (0.1 + 0.02 * number, 0.5 + 0.03 * number))
        page.mouse.move(left, area["y"] + 20)
        page.mouse.down()
        for x in np.linspace(left, right, 6):
            page.mouse.move(float(x), area["y"] + 24)
        page.mouse.up()

    def slide(number: int) -> None:
        slider.focus()
        page.keyboard.press("ArrowRight")

    def press(name: str) -> Callable[[int], None]:
        return lambda _: page.get_by_role("button", name=name, exact=True).click()

    return {
        "type a ratio": type_,
        "undo, Ctrl+Z": lambda _: page.keyboard.press("Control+z"),
        "brush groups": brush,
        "slider, selection": slide,
        "scale the selection": press("Scale"),
        "clear the selection": press("Clear"),
        "slider, all": slide,
    }


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    bench.begin(arguments)
    from playwright.sync_api import sync_playwright
    from real_app import Server

    times: dict[str, list[tuple[float, ...]]] = {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="cpd-editor-") as folder, sync_playwright() as playwright:
        project(Path(folder) / "home")
        server = Server(Path(folder) / "home")
        try:
            found = os.environ.get("CPD_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found or None, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 1800})
            page.goto(f"{server.url}/plan?project=editor")
            page.wait_for_selector("[data-testid=stDataFrame] canvas", timeout=60_000)
            page.wait_for_timeout(3000)
            page.evaluate(WATCH)
            for number in range(4 if arguments.quick else 9):
                for name, action in edits(page).items():
                    row = timed(page, server.process.pid, lambda action=action, number=number: action(number))
                    if number:  # the first round fills caches
                        times.setdefault(name, []).append(row)
            browser.close()
        finally:
            server.end()
    rows, result = [], {}
    for name, row in times.items():
        tiles, all_, own, other = np.array(row).T
        result[name] = {"tiles_ms": tiles.tolist(), "all_ms": all_.tolist(), "server_cpu_ms": own.tolist(), "browser_cpu_ms": other.tolist()}
        rows.append([name, *(f"{value:.0f}" for value in (np.median(tiles), tiles.max(), np.median(all_), all_.max(), np.median(own), np.median(other)))])
    bench.table(["edit", "tiles, median ms", "worst", "everything, median ms", "worst", "server CPU ms", "browser CPU ms"], rows)
    tiles = {name: float(np.median(row["tiles_ms"])) for name, row in result.items()}
    worst = max(ms for name, ms in tiles.items() if name not in SELECTING)
    selecting = max(tiles[name] for name in SELECTING)
    everything = max(float(np.median(row["all_ms"])) for row in result.values())
    figure = (f"{GROUPS} groups, load {load:.1f}: the tiles follow an edit within {worst:.0f} ms (slowest kind, median; bar {BAR_MS:.0f}), "
              f"a selection is shown within {selecting:.0f} ms, everything within {everything:.0f} ms.")  # fmt: skip
    return bench.end(arguments, {"edits": json.loads(json.dumps(result))}, figure, worst <= BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
