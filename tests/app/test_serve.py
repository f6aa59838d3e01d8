"""The launcher as a real process: where it listens, what it sends, and how it refuses."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from app.security import content_security_policy, inline_script_hashes
from tests.within import within

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int, home: Path, cwd: Path = ROOT, log: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A server that lives on says what it says into a file: nobody reads a pipe, and a full one would stop it."""
    environment = os.environ | {"CPD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app.serve", "--port", str(port)]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log, text=True)


def until_healthy(port: int, server: subprocess.Popen[str], patience_s: float = 30.0, log: Path | None = None) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                if answer.read() == b"ok":
                    return
        except OSError:
            time.sleep(0.1)
    said = log.read_text() if log else server.stderr.read() if server.poll() is not None and server.stderr else ""
    raise AssertionError(f"the server is not healthy after {patience_s:g} s: {said or 'no answer'}")


def ended(server: subprocess.Popen[str]) -> None:
    """Ask it to end; kill one that does not."""
    server.terminate()
    with within(server, 20, "the end of a server"):
        server.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server that was started from another folder, where no config file is found."""
    port, elsewhere = free_port(), tmp_path_factory.mktemp("elsewhere")
    log = elsewhere / "server.log"
    with log.open("w") as file:
        server = serve(port, elsewhere / "home", elsewhere, file)
    try:
        until_healthy(port, server, log=log)
        yield port, server
    finally:
        ended(server)


def test_every_response_carries_the_security_headers(served):
    with urllib.request.urlopen(f"http://127.0.0.1:{served[0]}/", timeout=20) as answer:
        headers, page = answer.headers, answer.read()
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert b"<title>" in page


def test_it_listens_on_the_loopback_address_alone(served):
    addresses = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    listening = [address.split(":")[0] for address in addresses if int(address.split(":")[1], 16) == served[0]]
    assert listening == ["0100007F"]  # 127.0.0.1 in the kernel's byte order
    assert not any(int(line.split()[1].split(":")[1], 16) == served[0] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:])


def test_a_port_in_use_is_one_clear_line_and_status_2(served, tmp_path):
    second = serve(served[0], tmp_path)
    out, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert err.strip().splitlines()[-1] == f"port {served[0]} on 127.0.0.1 is in use; stop what runs there or choose another with --port."
    assert "Traceback" not in err + out


def test_a_workspace_that_cannot_be_made_is_one_clear_line_and_status_2(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    server = serve(free_port(), tmp_path / "file" / "home")
    out, err = server.communicate(timeout=30)
    assert server.returncode == 2
    assert str(tmp_path) in err
    assert "Traceback" not in err + out


def test_inline_scripts_are_allowed_by_their_hash_alone():
    page = "<script>a = 1</script><script src='x.js'></script><script>b</script>"
    expected = [f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in (b"a = 1", b"b")]
    assert inline_script_hashes(page) == expected
    assert all(source in content_security_policy(page) for source in expected)


def test_an_interrupt_ends_it_with_a_word_and_no_traceback(tmp_path: Path) -> None:
    import signal

    port = free_port()
    server = serve(port, tmp_path / "home")
    try:
        until_healthy(port, server)
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0
    assert "Runs that are under way go on" in out
    assert "Traceback" not in err
