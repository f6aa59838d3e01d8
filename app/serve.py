"""Start the app: `python -m app.serve --port 8501`.

The options are set here and not only in .streamlit/config.toml, so that the app stays on the loopback address when it
is started from another folder. Others reach it with `--share` alone, which sharing.toml of the workspace has to describe.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

from app.security import OwnPages, SecurityHeaders
from app.sharing import MODES, USER, Sharing, read_sharing
from app.who import share
from cpd.errors import CpdError
from cpd.runs import supervisor
from cpd.runs.workspace import open_workspace

ADDRESS = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger("cpd.app")


def show_error(error: BaseException) -> bool:
    """What a page shows when it fails: a user's error in its own words, ours by name with the traceback in the log."""
    if isinstance(error, CpdError):
        st.error(str(error), icon=":material/error:")
        return True
    log.error("a page failed", exc_info=error)
    st.error(
        f"This screen stopped with an unexpected {type(error).__name__}. Your projects and runs are untouched; the "
        "details are in the terminal that started the app. Reload the page to try again.",
        title="Something went wrong on this screen",
        icon=":material/error:",
    )
    return True


def is_free(port: int, address: str = ADDRESS) -> bool:
    """Whether this process could listen on `port`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def options(port: int, sharing: Sharing | None = None) -> dict[str, object]:
    """Streamlit's settings: for a local app that nobody else can reach, or for one that is shared."""
    known: dict[str, object] = {}
    if sharing is not None:
        known = {
            "server.address": sharing.listen,
            "server.allowedHosts": ["localhost", ADDRESS, sharing.host],
            "server.corsAllowedOrigins": [sharing.public],
            "browser.serverAddress": sharing.host,
        }
    if sharing is not None and sharing.mode == "proxy":
        # Into the session's identity, which Streamlit compares when a browser asks for a session of before.
        known["server.trustedUserHeaders"] = {sharing.user_header: USER}
    return {
        "server.address": ADDRESS,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.allowedHosts": ["localhost", ADDRESS],
        "server.xsrfCookieSameSite": "strict",
        "server.maxUploadSize": 50,
        "runner.postScriptGC": False,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": ADDRESS,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "client.toolbarMode": "viewer",
        "logger.hideWelcomeMessage": True,
    } | known


def make_app(sharing: Sharing | None = None) -> st.App:
    """The app behind its headers; where it is shared, behind the gate too."""
    public = sharing.public if sharing else ""
    middleware = [Middleware(SecurityHeaders, public=public), Middleware(OwnPages, public=public)]
    secrets: dict[str, Any] | None = None
    if sharing is not None:
        from app.gate import Gate

        middleware.append(Middleware(Gate, sharing=sharing))
        secrets = {"auth": dict(sharing.auth)} if sharing.auth else None
    return st.App(Path(__file__).with_name("main.py"), middleware=middleware, secrets=secrets, on_script_error=show_error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 2 when the port is taken or the workspace cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m app.serve", description="Start CPD Studio on this machine.")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on (default 8501)")
    parser.add_argument("--share", choices=MODES, help="let others in, through a sign-in of your OIDC provider or behind a proxy that "
                        "knows who they are; workspace/sharing.toml says who, docs/sharing.md how. Without it only this machine is answered.")  # fmt: skip
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.port < 65536:
        print(f"port {chosen.port} is outside 1..65535; choose another with --port.", file=sys.stderr)
        return 2
    os.umask(0o077)  # whatever is written from here on is its owner's alone
    sharing = None
    try:
        root = open_workspace()
        if chosen.share:
            sharing = read_sharing(root, chosen.share, chosen.port)
        address = sharing.listen if sharing else ADDRESS
        if not is_free(chosen.port, address):
            print(f"port {chosen.port} on {address} is in use; stop what runs there or choose another with --port.", file=sys.stderr)
            return 2
        supervisor.ensure(root)
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    app = make_app(sharing)
    if sharing is not None:
        share(sharing)
        print(f"CPD Studio: {sharing.public}, shared by {sharing.mode}; listens on {sharing.listen}:{chosen.port}", flush=True)
    else:
        print(f"CPD Studio: http://{ADDRESS}:{chosen.port}", flush=True)
    try:
        app.run(config=options(chosen.port, sharing))
    except KeyboardInterrupt:
        print("\nStopped. Runs that are under way go on; start the app again to see them.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
