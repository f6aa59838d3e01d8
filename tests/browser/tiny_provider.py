"""An OpenID Connect provider as small as one can be: it asks who one is, believes it, and signs it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

USERS = ("olga", "ed", "vera", "mallory", "unsure")


class TinyProvider:
    """Listens on 127.0.0.1; knows one client and its secret, checks both, the redirect address and the PKCE verifier."""

    def __init__(self, client: str, secret: str, redirect: str) -> None:
        self.client, self.secret, self.redirect = client, secret, redirect
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)
        self.codes: dict[str, dict[str, str]] = {}
        self.refused: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.get(self)

            def do_POST(self) -> None:
                provider.token(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        where = urlsplit(handler.path)
        asked = {name: values[0] for name, values in parse_qs(where.query).items()}
        if where.path == "/.well-known/openid-configuration":
            answer(handler, {"issuer": self.url, "authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
                             "response_types_supported": ["code"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
                             "code_challenge_methods_supported": ["S256"]})  # fmt: skip
        elif where.path == "/keys":
            answer(handler, {"keys": [self.key.as_dict(private=False)]})
        elif where.path == "/authorize" and asked.get("client_id") == self.client and asked.get("redirect_uri") == self.redirect:
            links = "".join(f"<p><a href='/as?{urlencode(asked | {'who': name})}'>{name}</a></p>" for name in USERS)
            answer(handler, f"<h1>Who are you?</h1>{links}")
        elif where.path == "/as":
            code = secrets.token_hex(8)
            self.codes[code] = asked
            handler.send_response(302)
            handler.send_header("Location", f"{self.redirect}?{urlencode({'code': code, 'state': asked['state']})}")
            handler.end_headers()
        else:
            if where.path != "/favicon.ico":
                self.refused.append(handler.path)
            answer(handler, "refused", 400)

    def token(self, handler: BaseHTTPRequestHandler) -> None:
        form = {name: values[0] for name, values in parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode()).items()}
        given = handler.headers.get("Authorization", "").removeprefix("Basic ")
        known = base64.b64decode(given).decode() == f"{self.client}:{self.secret}" if given else form.get("client_secret") == self.secret
        asked = self.codes.pop(form.get("code", ""), None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if not known or asked is None or proof != asked.get("code_challenge"):
            self.refused.append(f"token {known} {asked is not None}")
            return answer(handler, {"error": "invalid_grant"}, 400)
        now, who = int(time.time()), asked["who"]
        claims = {"iss": self.url, "sub": who, "aud": self.client, "iat": now, "exp": now + 300, "nonce": asked["nonce"], "email": f"{who}@example.org",
                  "email_verified": who != "unsure"}  # fmt: skip
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        answer(handler, {"access_token": "none", "token_type": "Bearer", "expires_in": 300, "id_token": signed})


def answer(handler: BaseHTTPRequestHandler, body: Any, status: int = 200) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    handler.send_response(status)
    handler.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
    handler.end_headers()
    handler.wfile.write(text.encode())
