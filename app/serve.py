"""Start the app: `python -m app.serve --port 8501`.

The options are set here and not only in .streamlit/config.toml, so that the app stays on the loopback address when it
is started from another folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from app.security import SecurityHeaders
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


def is_free(port: int) -> bool:
    """Whether this process could listen on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def options(port: int) -> dict[str, object]:
    """Streamlit's settings for a local app that nobody else can reach."""
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
    }


app = st.App(Path(__file__).with_name("main.py"), middleware=[Middleware(SecurityHeaders)], on_script_error=show_error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 2 when the port is taken or the workspace cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m app.serve", description="Start CPD Studio on this machine.")
    parser.add_argument("--port", type=int, default=8501, help="port on 127.0.0.1 (default 8501)")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.port < 65536:
        print(f"port {chosen.port} is outside 1..65535; choose another with --port.", file=sys.stderr)
        return 2
    if not is_free(chosen.port):
        print(f"port {chosen.port} on {ADDRESS} is in use; stop what runs there or choose another with --port.", file=sys.stderr)
        return 2
    os.umask(0o077)  # whatever is written from here on is its owner's alone
    try:
        supervisor.ensure(open_workspace())
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"CPD Studio: http://{ADDRESS}:{chosen.port}", flush=True)
    try:
        app.run(config=options(chosen.port))
    except KeyboardInterrupt:
        print("\nStopped. Runs that are under way go on; start the app again to see them.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
