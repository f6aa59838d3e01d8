"""Sharing: what is refused before anything listens, and a real server behind a real proxy."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import synthetic
from conftest import MEASURED
from spoken import Spoken
from test_serve import ended, free_port, until_healthy
from tiny_proxy import TinyProxy
from websockets.exceptions import InvalidStatus

from app.security import content_security_policy
from app.sharing import People, read_sharing
from cpd.access import AccessError, Role
from cpd.runs.project import create_project, project_folder
from cpd.runs.store import Store
from cpd.runs.workspace import database, open_workspace

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef" * 4
GOOD = """
public = "https://cpd.example.org"
owners = ["Olga@example.org"]
editors = ["ed@example.org"]
viewers = ["vera@example.org"]
[proxy]
user_header = "X-Forwarded-Email"
secret_header = "X-CPD-Secret"
secret_env = "CPD_PROXY_SECRET"
[oidc]
metadata = "https://accounts.example.org/.well-known/openid-configuration"
client_id = "cpd"
client_secret_env = "CPD_CLIENT_SECRET"
"""


def written(folder: Path, text: str = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sharing.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def environment() -> dict[str, str]:
    return {"CPD_PROXY_SECRET": SECRET, "CPD_CLIENT_SECRET": SECRET}


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_complete_file_is_read_and_its_secrets_leave_the_environment(tmp_path):
    written(tmp_path)
    variables = environment()
    shared = read_sharing(tmp_path, "proxy", 8501, variables)
    assert (shared.public, shared.host, shared.listen, shared.is_secure) == ("https://cpd.example.org", "cpd.example.org", "127.0.0.1", True)
    assert "CPD_PROXY_SECRET" not in variables  # workers inherit the environment
    assert SECRET not in repr(shared)
    assert shared.is_proxy(SECRET)
    assert not any(shared.is_proxy(wrong) for wrong in ("", SECRET[:-1], SECRET + "0", SECRET.upper(), "ä"))
    oidc = read_sharing(tmp_path, "oidc", 8501, variables)
    assert oidc.auth["redirect_uri"] == "https://cpd.example.org/oauth2callback"
    assert len(oidc.auth["cookie_secret"]) >= 32
    assert read_sharing(tmp_path, "oidc", 8501, environment()).auth["cookie_secret"] == oidc.auth["cookie_secret"]  # sign-ins outlive a restart
    assert (tmp_path / ".sharing-cookie-secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('public = "https://cpd.example.org"', "", "public"),
        ("https://cpd.example.org", "http://cpd.example.org", "must be https"),
        ("https://cpd.example.org", "https://cpd.example.org/app", "without a path"),
        ("https://cpd.example.org", "ftp://cpd.example.org", "is not an address"),
        ("https://cpd.example.org", "https://me:pw@cpd.example.org", "is not an address"),
        ("owners =", 'listen = "everywhere"\nowners =', "is not an IP address"),
        ("owners =", "onwers =", "knows no 'onwers'"),
        ('["ed@example.org"]', '"ed@example.org"', "a list of names"),
        ('viewers = ["vera@example.org"]', 'viewers = "everybody"', "a list of names"),
        ('secret_env = "CPD_PROXY_SECRET"', "", "one of them"),
        ('secret_env = "CPD_PROXY_SECRET"', 'secret_env = "NOT_SET"', "holds no secret"),
        ('secret_env = "CPD_PROXY_SECRET"', 'secret_file = "/nowhere"', "is missing"),
        ('secret_header = "X-CPD-Secret"', 'secret_header = "x-forwarded-email"', "two headers"),
        ('secret_header = "X-CPD-Secret"', 'secret_header = "Cookie"', "cannot be a header"),
        ('user_header = "X-Forwarded-Email"\n', "", "user_header"),
        ("[proxy]", '[proxy]\nsign_out = "https://evil.example"', "is not a path"),
        ("[proxy]", "[other]", "knows no 'other'"),
        ("public", "public public", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_missing_or_unsafe_is_one_line(tmp_path, old, new, said):
    assert old in GOOD
    written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(AccessError, match=said) as refused:
        read_sharing(tmp_path, "proxy", 8501, environment())
    assert "\n" not in str(refused.value).strip()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metadata = "https:', 'metadata = "http:', "not an https address"),
        ('client_id = "cpd"\n', "", "client_id"),
        ('client_secret_env = "CPD_CLIENT_SECRET"', "", "one of them"),
        ("[oidc]", "[oidc]\nclient_secret = 'in the file'", "knows no 'client_secret'"),
    ],
)
def test_the_same_for_oidc(tmp_path, old, new, said):
    written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(AccessError, match=said):
        read_sharing(tmp_path, "oidc", 8501, environment())


def test_a_file_that_others_can_read_or_that_names_nobody_is_refused(tmp_path):
    path = written(tmp_path)
    path.chmod(0o644)
    with pytest.raises(AccessError, match="chmod 600"):
        read_sharing(tmp_path, "proxy", 8501, environment())
    written(tmp_path, "\n".join(line for line in GOOD.splitlines() if not line.startswith(("owners", "editors", "viewers"))))
    with pytest.raises(AccessError, match="names nobody"):
        read_sharing(tmp_path, "proxy", 8501, environment())


def test_roles_go_by_the_lists_and_follow_the_file(tmp_path):
    path = written(tmp_path)
    shared = read_sharing(tmp_path, "proxy", 8501, environment())
    names = ("olga@EXAMPLE.org", " ed@example.org ", "vera@example.org", "mallory@example.org", "")
    assert [shared.role(name) for name in names] == [Role.OWNER, Role.EDITOR, Role.VIEWER, Role.NONE, Role.NONE]
    written(tmp_path, GOOD.replace('["ed@example.org"]', "[]").replace('viewers = ["vera@example.org"]', 'viewers = "any signed-in"'))
    assert [shared.role(name) for name in names] == [Role.OWNER, Role.VIEWER, Role.VIEWER, Role.VIEWER, Role.NONE]
    path.write_text("damaged [")
    assert [shared.role(name) for name in names] == [Role.NONE] * 5
    assert People().role("anybody") is Role.NONE


def test_an_identity_counts_only_when_it_is_signed_in_and_its_address_is_not_known_to_be_unverified(tmp_path):
    written(tmp_path)
    shared = read_sharing(tmp_path, "oidc", 8501, environment())
    assert shared.name_in({"is_logged_in": True, "email": "ed@example.org"}) == "ed@example.org"
    for user in ({}, {"email": "ed@example.org"}, {"is_logged_in": False, "email": "ed@example.org"},
                 {"is_logged_in": True, "email": "ed@example.org", "email_verified": False}, {"is_logged_in": True, "email": ["ed@example.org"]},
                 {"is_logged_in": True, "cpd_user": "ed@example.org"}):  # fmt: skip
        assert shared.name_in(user) == ""


def test_the_policy_follows_the_public_address():
    policy = content_security_policy("<html></html>", "https://cpd.example.org")
    assert "connect-src 'self' wss://cpd.example.org data: blob:" in policy
    assert "127.0.0.1" not in policy


@pytest.mark.parametrize(("arguments", "said"), [(["--share", "proxy"], "sharing.toml: is missing"), (["--share", "everybody"], "invalid choice"), (["--address", "0.0.0.0"], "unrecognized arguments")])
def test_the_server_does_not_start_without_a_safe_configuration(tmp_path, arguments, said):
    done = subprocess.run([sys.executable, "-m", "app.serve", "--port", str(free_port()), *arguments], cwd=ROOT, env=os.environ | {"CPD_HOME": str(tmp_path / "home")},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


# A real server behind a real proxy ------------------------------------------------------------------------------------


@dataclass
class Shared:
    home: Path
    port: int
    proxy: TinyProxy
    project: str

    def through(self, user: str | None, secret: str | None = SECRET) -> str:
        """Address of the proxy, which now says that it is this user."""
        self.proxy.added = {"X-Forwarded-Email": user or "", "X-CPD-Secret": secret or ""}
        if user is None:
            del self.proxy.added["X-Forwarded-Email"]
        if secret is None:
            del self.proxy.added["X-CPD-Secret"]
        return self.proxy.url

    def runs(self) -> list[str]:
        store = Store(database(self.home))
        try:
            return [run.kind for run in store.list_runs(self.project)]
        finally:
            store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home, port = open_workspace(tmp_path_factory.mktemp("shared") / "home"), free_port()
    made = create_project(home, "bench", "timm:chain", data="digits", settings={"num_classes": 10})
    synthetic.chain().save(project_folder(home, made.id))
    (project_folder(home, made.id) / "baseline.json").write_text(json.dumps(MEASURED))
    # No supervisor starts anything here: no run may.
    (home / "policy.json").write_text(json.dumps({"parallel": 0, "light": 0}))
    proxy = TinyProxy(port, {})
    written(home, GOOD.replace("https://cpd.example.org", proxy.url))
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("w") as file:  # nobody reads a pipe, and a full one would stop it
        server = subprocess.Popen([sys.executable, "-m", "app.serve", "--port", str(port), "--share", "proxy"], cwd=ROOT,
                                  env=os.environ | {"CPD_HOME": str(home), "CPD_PROXY_SECRET": SECRET}, stdout=file, stderr=file, text=True)  # fmt: skip
    try:
        until_healthy(port, server, log=log)
        yield Shared(home, port, proxy, made.id)
    finally:
        proxy.close()
        ended(server)
        store = Store(database(home))
        for run in store.unfinished():  # what was queued keeps the supervisor waiting
            store.finish(run.id, "stopped")
        store.close()


def status(url: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(url, method=method, headers=headers, data=b"x" if method == "PUT" else None)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


PATHS = ("/", "/run", "/_stcore/metrics", "/_stcore/host-config", "/media/x.png", "/static/js/x.js")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("user", "secret"), [("ed@example.org", None), ("ed@example.org", SECRET[:-1] + "0"), ("ed@example.org", ""), (None, SECRET), ("", SECRET), ("mallory@example.org", SECRET)])
def test_without_the_secret_and_a_name_on_the_list_nothing_is_answered(shared, path, user, secret):
    assert status(shared.through(user, secret) + path) == 403


def test_past_the_proxy_nothing_is_answered_either(shared):
    for path in PATHS:
        assert status(f"http://127.0.0.1:{shared.port}{path}", **{"X-Forwarded-Email": "ed@example.org"}) == 403
    assert status(f"http://127.0.0.1:{shared.port}/_stcore/health") == 200


@pytest.mark.parametrize(("user", "secret"), [("ed@example.org", None), ("ed@example.org", "wrong" * 10), (None, SECRET), ("mallory@example.org", SECRET)])
def test_the_websocket_neither(shared, user, secret):
    with pytest.raises(InvalidStatus) as refused:
        Spoken(shared.through(user, secret), "run")
    assert refused.value.response.status_code == 403


def test_a_visitor_cannot_name_itself(shared):
    """What a browser sends under the proxy's headers is thrown away by the proxy, and twice the header is not believed."""
    with Spoken(shared.through("vera@example.org"), "comb", f"project={shared.project}", headers={"X-Forwarded-Email": "ed@example.org"}) as tab:
        assert "vera" in tab.text
        assert "You look on" in tab.text
    answers = []
    for names in (["vera@example.org"], ["vera@example.org", "ed@example.org"]):
        direct = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
        direct.putrequest("GET", "/")
        for name in names:
            direct.putheader("X-Forwarded-Email", name)
        direct.putheader("X-CPD-Secret", SECRET)
        direct.endheaders()
        answers.append(direct.getresponse().status)
        direct.close()
    assert answers == [200, 403]


def test_a_page_of_another_site_gets_no_socket(shared):
    from websockets.sync.client import connect

    shared.through("ed@example.org")
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{shared.proxy.port}/_stcore/stream", origin="https://evil.example", proxy=None)  # type: ignore[arg-type]


def test_a_viewer_sees_everything_and_starts_nothing_by_hand_either(shared):
    before = shared.runs()
    with Spoken(shared.through("vera@example.org"), "comb", f"project={shared.project}") as tab:
        assert "stage1.conv0" in tab.text
        assert "You look on" in tab.text
        tab.ask(press=tab.ids["Run the doctor"])  # no browser would: the button is disabled
        tab.ask()
    assert shared.runs() == before


def test_a_viewer_uploads_nothing(shared):
    url = f"{shared.through('vera@example.org')}/_stcore/upload_file/some-session/some-file"
    assert status(url, "PUT") == 403
    assert status(url, "DELETE") == 403
    assert status(f"{shared.through('ed@example.org')}/_stcore/upload_file/some-session/some-file", "PUT") != 200  # past the gate, and no token


def test_an_editor_starts_a_run(shared):
    before = shared.runs()
    with Spoken(shared.through("ed@example.org"), "comb", f"project={shared.project}") as tab:
        tab.ask(press=tab.ids["Run the doctor"])
    assert shared.runs() == ["doctor", *before]


def test_a_link_to_a_story_is_for_reading_whoever_opens_it(shared):
    before = shared.runs()
    with Spoken(shared.through("ed@example.org"), "comb", f"project={shared.project}") as tab:
        button = tab.ids["Run the doctor again"] if "Run the doctor again" in tab.ids else tab.ids["Run the doctor"]
    with Spoken(shared.through("ed@example.org"), "comb", f"project={shared.project}&view=present") as tab:
        tab.ask(press=button)
    assert shared.runs() == before


def test_who_is_struck_off_the_list_is_out_at_once(shared):
    with Spoken(shared.through("vera@example.org"), "comb", f"project={shared.project}") as tab:
        written(shared.home, GOOD.replace("https://cpd.example.org", shared.proxy.url).replace("vera", "other"))
        try:
            tab.ask()
            assert "may not look at this workspace" in tab.text
            assert "stage1.conv0" not in tab.text
            assert status(shared.through("vera@example.org") + "/") == 403
        finally:
            written(shared.home, GOOD.replace("https://cpd.example.org", shared.proxy.url))


def test_headers_are_those_of_the_public_address(shared):
    with urllib.request.urlopen(shared.through("vera@example.org") + "/", timeout=20) as answer:
        assert f"ws://127.0.0.1:{shared.proxy.port}" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
