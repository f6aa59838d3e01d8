"""Response headers of the app: no foreign script, no framing, no guessing of content types; and no foreign page's socket.

Streamlit itself sends none of them. Plotly and the data editor write inline styles, so styles may be inline; scripts may
not, except the ones that Streamlit's own index page carries, which are named by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def inline_script_hashes(page: str) -> list[str]:
    """CSP source expressions of every inline script in an HTML page (CSP Level 3, section 6.7.3.3)."""
    bodies = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = [hashlib.sha256(body.encode()).digest() for body in bodies]
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


LOOPBACK = ("127.0.0.1", "localhost", "::1")


def content_security_policy(page: str, public: str = "") -> str:
    """The policy for an app whose index page is `page`; `public` is the origin of a shared one."""
    sockets = re.sub("^http", "ws", public) if public else "ws://127.0.0.1:* ws://localhost:*"
    scripts = " ".join(["'self'", "'wasm-unsafe-eval'", *inline_script_hashes(page)])
    rules = {
        "default-src": "'self'",
        "script-src": scripts,
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' {sockets} data: blob:",
        "worker-src": "'self' blob:",
        "media-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SecurityHeaders:
    """ASGI middleware that adds the headers to every HTTP response.

    Args:
        public: origin of a shared app, "" for one that only this machine reaches. Where it is https, no cookie travels
            without.
    """

    def __init__(self, app: ASGIApp, public: str = "") -> None:
        self.app = app
        self._secure = public.startswith("https:")
        index = Path(streamlit.__file__).parent / "static" / "index.html"
        self.headers = {
            "content-security-policy": content_security_policy(index.read_text(encoding="utf-8"), public),
            "x-frame-options": "DENY",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(message)
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _add(self, message: MutableMapping[str, Any]) -> None:
        given = [
            (name, self._cookie(value) if name.lower() == b"set-cookie" else value)
            for name, value in message.get("headers", [])
        ]
        present = {name.lower() for name, _ in given}
        added = [(n.encode(), v.encode()) for n, v in self.headers.items() if n.encode() not in present]
        message["headers"] = [*given, *added]

    def _cookie(self, value: bytes) -> bytes:
        return value if not self._secure or b"; secure" in value.lower() else value + b"; Secure"


class OwnPages:
    """ASGI middleware that refuses the websocket to every page but our own.

    Streamlit refuses most of them too, but asks an outside service for this machine's address before it does.
    """

    def __init__(self, app: ASGIApp, public: str = "") -> None:
        self.app = app
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_own(Headers(scope=scope).get("origin")):
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: 403
            return
        await self.app(scope, receive, send)

    def _is_own(self, origin: str | None) -> bool:
        """A browser always says where a page comes from; what is no browser has no other site's cookies to misuse."""
        if origin is None:
            return True
        if self._public:
            return origin == self._public
        try:
            return urlsplit(origin).hostname in LOOPBACK
        except ValueError:
            return False
