"""Response headers of the app: no foreign script, no framing, no guessing of content types.

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

import streamlit
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def inline_script_hashes(page: str) -> list[str]:
    """CSP source expressions of every inline script in an HTML page (CSP Level 3, section 6.7.3.3)."""
    bodies = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digests = [hashlib.sha256(body.encode()).digest() for body in bodies]
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def content_security_policy(page: str) -> str:
    """The policy for an app whose index page is `page`."""
    scripts = " ".join(["'self'", "'wasm-unsafe-eval'", *inline_script_hashes(page)])
    rules = {
        "default-src": "'self'",
        "script-src": scripts,
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' ws://127.0.0.1:* ws://localhost:* data: blob:",
        "worker-src": "'self' blob:",
        "media-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SecurityHeaders:
    """ASGI middleware that adds the headers to every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        index = Path(streamlit.__file__).parent / "static" / "index.html"
        self.headers = {
            "content-security-policy": content_security_policy(index.read_text(encoding="utf-8")),
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
        present = {name.lower() for name, _ in message.get("headers", [])}
        added = [(n.encode(), v.encode()) for n, v in self.headers.items() if n.encode() not in present]
        message["headers"] = [*message.get("headers", []), *added]
