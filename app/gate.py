"""The door of a shared app: nothing but the sign-in is answered before it is known who asks, the websocket included.

Behind a proxy, who asks is what the proxy's header says, and that is believed only beside the proxy's secret. With OIDC it
is the identity cookie that Streamlit signs after a sign-in. Whoever may only look may also send nothing but requests to
read: an upload ends here, before any script has seen it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from app.sharing import Sharing
from cpd.access import Role

OPEN = ("/_stcore/health",)  # says "ok" and nothing else
SIGN_IN, SIGN_OUT = "/sign-in", "/auth/logout"
OIDC_PATHS = ("/auth/login", SIGN_OUT, "/oauth2callback")
READING = ("GET", "HEAD", "OPTIONS")
NEXT = "cpd_next"  # cookie: where a link led before the sign-in
PAGE = re.compile(r"/[a-z]{0,20}(\?[^\s\\]{0,1500})?")
LOGO = (Path(__file__).parent / "assets" / "logo.svg").read_text()


class Gate:
    """ASGI middleware in front of everything else of a shared app."""

    def __init__(self, app: ASGIApp, sharing: Sharing) -> None:
        self.app = app
        self.sharing = sharing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self.app(scope, receive, send)
            return
        refused = self._proxied(scope) if self.sharing.mode == "proxy" else self._signed_in(scope)
        if refused is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: 403
        else:
            await refused(scope, receive, send)

    def _proxied(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        secrets, names = headers.getlist(self.sharing.secret_header), headers.getlist(self.sharing.user_header)
        if len(secrets) != 1 or not self.sharing.is_proxy(secrets[0]):
            return PlainTextResponse("403: this app is reached through its proxy alone.\n", 403)
        if len(names) != 1 or not names[0].strip():
            return PlainTextResponse("403: the proxy does not say who asks.\n", 403)
        # The secret has done its work; no script, log or page needs to see it.
        name = self.sharing.secret_header.lower().encode()
        scope["headers"] = [(key, value) for key, value in scope["headers"] if key.lower() != name]
        return self._allowed(scope, names[0].strip())

    def _signed_in(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        path = scope["path"]
        if scope["type"] == "http" and path in OIDC_PATHS:
            return None
        if scope["type"] == "http" and path == SIGN_IN:
            return RedirectResponse(generate_login_redirect_url("default"), 302)
        cookies = cookie_parser(headers.get("cookie", ""))
        name = self._name(cookies)
        if name:
            return self._onward(scope, cookies) or self._allowed(scope, name)
        if path.startswith("/_stcore") or "text/html" not in headers.get("accept", ""):
            return PlainTextResponse("401: sign in first.\n", 401)
        answer = page("Sign in", "This workspace is shared with people its owner knows.", (SIGN_IN, "Sign in"), 401)
        query = scope.get("query_string", b"").decode("latin-1")
        asked = f"{path}?{query}" if query else path
        if asked != "/" and PAGE.fullmatch(asked):
            answer.set_cookie(NEXT, quote(asked, safe=""), max_age=600, httponly=True, samesite="lax")
        return answer

    def _name(self, cookies: Mapping[str, str]) -> str:
        """Whom the identity cookie names, "" where there is none that we signed for this address."""
        signed = _get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE_NAME)
        try:
            user = json.loads(signed) if signed else {}
        except ValueError:
            return ""
        return self.sharing.name_in(user) if user.get("origin") == self.sharing.public else ""

    def _onward(self, scope: Scope, cookies: Mapping[str, str]) -> Response | None:
        """After the sign-in, to where the link had led: Streamlit itself always comes back to the first page."""
        if scope["type"] != "http" or scope["path"] != "/" or scope.get("query_string") or not cookies.get(NEXT):
            return None
        asked = unquote(cookies[NEXT])
        answer = RedirectResponse(asked if PAGE.fullmatch(asked) else "/", 302)
        answer.delete_cookie(NEXT)
        return answer

    def _allowed(self, scope: Scope, name: str) -> Response | None:
        role = self.sharing.role(name)
        if role < Role.VIEWER:
            way = (SIGN_OUT, "Sign out") if self.sharing.mode == "oidc" else (self.sharing.sign_out, "Sign out")
            return page(
                "Not on the list",
                f"You are signed in as {name}, who is not among those who may look at this workspace. Its owner can add you.",
                way,
                403,
            )
        if scope["type"] == "http" and scope["method"] not in READING and role < Role.EDITOR:
            return PlainTextResponse(f"403: {name} may look on but not upload or change anything.\n", 403)
        return None


def page(title: str, text: str, way: tuple[str, str], status: int) -> HTMLResponse:
    """One card with one button, in the colours of the app, light and dark."""
    target, label = way
    button = f'<a class="go" href="{html.escape(target)}">{html.escape(label)}</a>' if target else ""
    return HTMLResponse(
        _PAGE.format(title=html.escape(title), text=html.escape(text), button=button, logo=LOGO),
        status,
        {"cache-control": "no-store"},
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title} · CPD Studio</title>
<style>
:root {{ color-scheme: light dark; --paper: #FFFFFF; --card: #F7F7FA; --ink: #1C1D26; --quiet: #5A5C6B; --line: #DEDFE8; --go: #5243C2; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #13141B; --card: #1E2029; --ink: #ECEDF3; --quiet: #A9ACBC; --line: #343744; --go: #7161E4; }} }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper); color: var(--ink); font: 16px/1.5 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; }}
main {{ width: min(26rem, calc(100vw - 4rem)); padding: 2.5rem 2rem; border: 1px solid var(--line); border-radius: 12px; background: var(--card); text-align: center; box-sizing: border-box; }}
h1 {{ margin: 1.25rem 0 .5rem; font-size: 1.5rem; font-weight: 650; }}
p {{ margin: 0 0 1.75rem; color: var(--quiet); overflow-wrap: anywhere; text-wrap: balance; }}
.go {{ display: inline-block; padding: .55rem 1.6rem; border-radius: 8px; background: var(--go); color: #FFFFFF; text-decoration: none; font-weight: 600; }}
.go:focus-visible {{ outline: 3px solid var(--ink); outline-offset: 2px; }}
</style></head><body><main>{logo}<h1>{title}</h1><p>{text}</p>{button}</main></body></html>
"""
