"""A proxy as small as one can be: it knows who asks, says so in a header, and proves with a secret that it is the proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress


class TinyProxy:
    """Every connection on `port` goes on to the app, with `added` in its first request's head in place of what came."""

    def __init__(self, app_port: int, added: Mapping[str, str]) -> None:
        self.added = dict(added)
        self._app_port = app_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(browser,), daemon=True).start()

    def _carry(self, browser: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = browser.recv(65536)
            if not piece:
                return browser.close()
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        ours = {name.lower().encode() for name in self.added}
        lines = [line for line in head.split(b"\r\n") if line.partition(b":")[0].strip().lower() not in ours]
        if b"upgrade: websocket" not in head.lower():  # one request a connection: its head is the only one that is read here
            lines = [*(line for line in lines if not line.lower().startswith(b"connection:")), b"Connection: close"]
        lines += [f"{name}: {value}".encode() for name, value in self.added.items()]
        app = socket.create_connection(("127.0.0.1", self._app_port), timeout=20)
        app.settimeout(None)  # a websocket is silent for as long as nobody says anything
        app.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        threading.Thread(target=_pour, args=(browser, app), daemon=True).start()
        _pour(app, browser)


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
