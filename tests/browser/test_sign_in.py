"""A shared app with a real sign-in: a provider of OpenID Connect on this machine, and a real browser that goes there."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect
from real_app import SHOTS, Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cpd.runs.project import create_project, project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database, open_workspace
from tests.app import synthetic

pytest.importorskip("authlib")
from tiny_provider import TinyProvider

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)
SECRET = "a secret that only two machines know"
SHARING = """
public = "{public}"
owners = ["olga@example.org"]
editors = ["ed@example.org"]
viewers = ["vera@example.org", "unsure@example.org"]
[oidc]
metadata = "{provider}/.well-known/openid-configuration"
client_id = "cpd"
client_secret_env = "CPD_CLIENT_SECRET"
"""


@dataclass
class Shared:
    server: Server
    provider: TinyProvider
    project: str

    @property
    def comb(self) -> str:
        return f"{self.server.url}/comb?project={self.project}"

    def runs(self) -> list[str]:
        store = Store(database(self.server.home))
        try:
            return [run.kind for run in store.list_runs(self.project)]
        finally:
            store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The app with `--share oidc`, its provider, and a project that is combed; no run is ever started in it."""
    home = open_workspace(tmp_path_factory.mktemp("oidc") / "home")
    made = create_project(home, "bench", "timm:chain", data="digits", settings={"num_classes": 10})
    synthetic.chain().save(project_folder(home, made.id))
    (home / "policy.json").write_text(json.dumps({"parallel": 0, "light": 0}))
    providers: list[TinyProvider] = []

    def prepare(server: Server) -> None:
        providers.append(TinyProvider("cpd", SECRET, f"{server.url}/oauth2callback"))
        path = home / "sharing.toml"
        path.write_text(SHARING.format(public=server.url, provider=providers[0].url))
        path.chmod(0o600)
        server.options, server.environment = ["--share", "oidc"], {"CPD_CLIENT_SECRET": SECRET}

    server = Server(home, prepare)
    try:
        yield Shared(server, providers[0], made.id)
    finally:
        server.end()
        providers[0].close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, shared: Shared, who: str) -> None:
    page.goto(shared.comb)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name=who).click()


def test_nobody_sees_anything_before_the_sign_in(shared):
    def status(path: str, **headers: str) -> int:
        request = urllib.request.Request(shared.server.url + path, headers=headers)
        try:
            return int(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20).status)
        except urllib.error.HTTPError as error:
            return error.code

    for path in ("/", "/comb", "/_stcore/metrics", "/_stcore/host-config", "/static/index.html", "/media/x"):
        assert status(path) == 401
        assert status(path, Cookie='_streamlit_user="forged"', Accept="text/html") == 401
    for headers in ({}, {"Cookie": "_streamlit_user=forged"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(shared.server.url.replace("http", "ws") + "/_stcore/stream", proxy=None, additional_headers=headers)
        assert refused.value.response.status_code == 403
    assert status("/_stcore/health") == 200


def test_a_viewer_signs_in_comes_back_to_the_link_looks_on_and_signs_out(shared, page):
    page.goto(shared.comb)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "sign-in-light.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=SHOTS / "sign-in-dark.png")
    page.emulate_media(color_scheme="light")
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name="vera").click()
    expect(page.get_by_text("You look on")).to_be_visible()
    assert page.url.partition("?")[0] == f"{shared.server.url}/comb"
    assert f"project={shared.project}" in page.url
    expect(page.get_by_text("vera@example.org")).to_be_visible()
    expect(page.get_by_role("button", name="Run the doctor")).to_be_disabled()
    page.wait_for_timeout(1500)
    page.screenshot(path=SHOTS / "looking-on-light.png")
    page.reload()
    expect(page.get_by_text("You look on")).to_be_visible()  # the sign-in lasts
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(shared.comb)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_editor_starts_a_run(shared, page):
    assert shared.runs() == []
    sign_in(page, shared, "ed")
    page.get_by_role("button", name="Run the doctor").click()
    expect(page.get_by_role("button", name="Run the doctor")).to_be_disabled()
    assert shared.runs() == ["doctor"]


@pytest.mark.parametrize("who", ["mallory", "unsure"])
def test_who_is_on_no_list_or_whose_address_is_not_verified_stays_outside(shared, page, who):
    sign_in(page, shared, who)
    expect(page.get_by_role("heading", name="Not on the list" if who == "mallory" else "Sign in")).to_be_visible()
    expect(page.get_by_text("groups")).to_have_count(0)


def test_the_sign_in_outlives_a_restart(shared, page):
    sign_in(page, shared, "olga")
    expect(page.get_by_text("Owner: may do everything")).to_be_visible()
    shared.server.kill()
    shared.server.start()
    page.goto(shared.comb)
    expect(page.get_by_text("Owner: may do everything")).to_be_visible()
    assert not shared.provider.refused
