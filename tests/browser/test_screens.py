"""Every screen in every state, light and dark and on a phone, as pictures in test-results; and what each must show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import SHOTS, SLOW, Server, settled
from shown import Shown

from app.steps import PAGES, TITLES
from cpd.runs.project import Project
from cpd.runs.workspace import open_workspace

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # the first test waits for every job of a project; on a busy machine
WIDE, PHONE, TALL = 1440, 390, 4200  # pixels; the page scrolls inside itself, so the window is as tall as what it shows
LOOK = Path(__file__).with_name("look.js")

# Until whatever is loaded late has arrived: nothing that stands for something else is left, and charts are drawn.
PAINTED = """() => {
  const charts = [...document.querySelectorAll('[data-testid=stMain] [data-testid=stPlotlyChart]')].filter(each => each.checkVisibility());
  return !document.querySelector('[data-testid=stSkeleton]')
    && charts.every(each => each.querySelector('.main-svg'));
}"""


class Studio:
    """A window onto the app, and the pictures that are taken of it."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": WIDE, "height": TALL}, color_scheme="light", reduced_motion="reduce")
        self.context.add_init_script(path=LOOK)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.shown: Shown | None = None

    def open(self, screen: str, project: Project | None = None, run: str = "") -> None:
        """As a link to it would, or by the menu where that is enough."""
        at = f"project={project.id}" if project else ""
        link = self.page.get_by_test_id("stSidebarNavLink").filter(has_text=TITLES[screen])
        if project and f"project={project.id}" in self.page.url and "run=" not in self.page.url and not run and self.page.viewport_size["width"] == WIDE:  # type: ignore[index]
            link.click()
            self.page.wait_for_url(lambda url: url.partition("?")[0].endswith("/" if screen == "start" else f"/{screen}"), timeout=SLOW)
            expect(self.page.get_by_test_id("stSidebarNavLink").and_(self.page.locator("[aria-current=page]"))).to_contain_text(TITLES[screen], timeout=SLOW)
        else:
            self.page.goto(f"{self.server.url}/{'' if screen == 'start' else screen}?{at}{f'&run={run}' if run else ''}")
        self.painted()

    def painted(self) -> None:
        settled(self.page)
        self.page.wait_for_function(PAINTED, timeout=SLOW)

    def shoot(self, name: str) -> None:
        SHOTS.mkdir(exist_ok=True)
        box = self.page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').getBoundingClientRect().bottom")
        size = self.page.viewport_size
        assert size is not None
        height = min(max(box + 8, 844 if size["width"] == PHONE else 900), TALL)
        self.page.screenshot(path=SHOTS / f"{name}.png", clip={"x": 0, "y": 0, "width": size["width"], "height": height}, animations="disabled")

    def look(self, state: str, screen: str) -> list[str]:
        """The screen in light and in dark; what a person would stumble over."""
        found = []
        for theme in ("light", "dark"):
            self.theme(theme)
            self.shoot(f"{screen}-{state}-{theme}")
            found += [f"{screen} {state} {theme}: {text}" for text in self.page.evaluate("look()")]
        self.theme("light")
        return found

    def theme(self, name: str) -> None:
        self.page.emulate_media(color_scheme=name, reduced_motion="reduce")  # type: ignore[arg-type]
        self.page.wait_for_function("name => theme() === name", arg=name, timeout=SLOW)
        self.painted()

    def in_view(self, project: Project, run: str) -> None:
        """The model and the run are named beside the screen, wherever one has scrolled to."""
        side = self.page.get_by_test_id("stSidebar")
        expect(side.get_by_text(project.name, exact=True)).to_be_visible(timeout=SLOW)
        expect(side.get_by_text(project.model)).to_be_visible(timeout=SLOW)
        if run:
            expect(side.get_by_text(run)).to_be_visible(timeout=SLOW)


@pytest.fixture(scope="module")
def studio(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    server = Server(open_workspace(tmp_path_factory.mktemp("screens") / "home"))
    opened = Studio(chromium, server)
    try:
        yield opened
    finally:
        opened.context.close()
        server.end()
        if opened.shown is not None:
            opened.shown.close()


@pytest.fixture(scope="module")
def shown(studio: Studio) -> Shown:
    studio.shown = Shown(studio.server.home)
    return studio.shown


def test_a_new_workspace(studio: Studio) -> None:
    problems = []
    for screen in PAGES:
        studio.open(screen)
        problems += studio.look("new", screen)
    assert not problems, "\n".join(problems)


# The project that shows a state on a screen.
STATES: dict[str, Callable[[Shown, str], Project]] = {
    "empty": lambda shown, screen: shown.new if screen in ("start", "comb") else shown.fresh,
    "busy": lambda shown, screen: shown.arriving if screen in ("start", "comb") else shown.busy,
    "full": lambda shown, screen: shown.full,
    "error": lambda shown, screen: shown.uncombed if screen in ("start", "comb") else shown.failed,
    "damaged": lambda shown, screen: shown.damaged,
    "stale": lambda shown, screen: shown.stale,
}


def run_of(shown: Shown, state: str, screen: str) -> str:
    """The run that a screen shows in a state, "" for none."""
    known = ("full", "busy", "error", "damaged", "stale") if screen == "run" else ("full", "damaged", "stale") if screen in ("compare", "present") else ()
    return shown.run[STATES[state](shown, screen).id] if state in known else ""


@pytest.mark.parametrize("state", STATES)
def test_every_screen(studio: Studio, shown: Shown, state: str) -> None:
    problems = []
    for screen in PAGES:
        project = STATES[state](shown, screen)
        studio.open(screen, project)
        studio.in_view(project, run_of(shown, state, screen))
        problems += studio.look(state, screen)
    assert not problems, "\n".join(problems)


def test_every_screen_on_a_phone(studio: Studio, shown: Shown) -> None:
    problems = []
    studio.page.set_viewport_size({"width": PHONE, "height": TALL})
    for screen in PAGES:
        studio.open(screen, shown.full)
        # The sidebar is folded away here: what is open stands above the title, or is it.
        expect(studio.page.get_by_test_id("stMain").get_by_text(shown.full.name).first).to_be_visible(timeout=SLOW)
        if screen in ("run", "present"):
            expect(studio.page.get_by_test_id("stMain").get_by_text(shown.run[shown.full.id]).first).to_be_visible(timeout=SLOW)
        studio.shoot(f"{screen}-full-phone")
        problems += [f"{screen} phone: {text}" for text in studio.page.evaluate("look()")]
    studio.page.set_viewport_size({"width": WIDE, "height": TALL})
    assert not problems, "\n".join(problems)
