"""run.sh and test.sh: what they refuse, and that a second start installs nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The launcher and its scripts with stand-ins for what is slow: an environment that is there, a server that says its port."""
    for name in ("run.sh", "test.sh", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "serve.py").write_text("import sys; print('serving', *sys.argv[1:])")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("")
    # A wrapper that notes every pip call, in place of an installation.
    python = venv / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$2" = pip ]; then echo "$@" >>"{tmp_path}/pip.log"; exit ${{PIP_STATUS:-0}}; fi\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    return tmp_path


def launch(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Without uv in the path: the stand-in is pip's.
    env = {**os.environ, "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        [str(checkout / "run.sh"), *arguments],
        cwd="/",
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_it_installs_once_and_again_only_when_the_requirements_change(checkout: Path) -> None:
    log = checkout / "pip.log"
    first = launch(checkout)
    assert first.returncode == 0, first.stderr
    assert "-r requirements.txt" in log.read_text()
    once = log.read_text()
    assert launch(checkout).returncode == 0
    assert log.read_text() == once
    (checkout / "requirements.txt").write_text("torch==2.13.0\n")
    assert launch(checkout).returncode == 0
    assert len(log.read_text()) > len(once)
    stamp = (checkout / ".venv" / ".installed-run").read_text().strip()
    assert stamp == hashlib.sha256(b"torch==2.13.0\n").hexdigest()


def test_a_failed_installation_is_said_and_tried_again(checkout: Path) -> None:
    failed = launch(checkout, PIP_STATUS="1")
    assert failed.returncode == 1
    assert "Could not install requirements.txt" in failed.stderr
    assert failed.stdout == ""
    assert "serving" in launch(checkout).stdout


def test_the_port_asked_for_is_the_port_or_one_line(checkout: Path, taken: int) -> None:
    done = launch(checkout, "--port", str(taken))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"port {taken} is in use")
    for port in ("0", "70000", "eighty", "-1"):
        assert launch(checkout, "--port", port).returncode == 2
    assert launch(checkout, "--port").returncode == 2
    assert launch(checkout, "--prot", "1").returncode == 2


def test_without_a_port_it_is_the_next_free_one(checkout: Path) -> None:
    said = launch(checkout).stdout.split()
    port = int(said[-1])
    assert said[:2] == ["serving", "--port"]
    assert 8501 <= port <= 8699
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
        assert port < int(launch(checkout).stdout.split()[-1]) <= 8699


def test_an_old_python_is_named(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    old = checkout / "bin"
    old.mkdir()
    for name in ("python3", "python"):
        (old / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
        (old / name).chmod(0o755)
    for tool in ("sh", "id", "dirname", "cat", "rm", "printf"):
        (old / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    done = launch(checkout, PATH=str(old))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, found Python 3.9.2" in done.stderr


def test_something_else_called_venv_is_left_alone(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").write_text("precious")
    assert launch(checkout).returncode == 1
    assert (checkout / ".venv" / "mine").read_text() == "precious"


@pytest.mark.parametrize("script", ["run.sh", "test.sh"])
def test_help(checkout: Path, script: str) -> None:
    done = subprocess.run([str(checkout / script), "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert f"usage: ./{script}" in done.stdout + done.stderr


def test_requirements_are_exact_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "benchmarks/requirements.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        for line in lines:
            package, equals, version = line.partition("==")
            assert equals, f"{name}: {line}"
            assert package.replace("-", "").replace("_", "").isalnum(), f"{name}: {line}"
            assert version[0].isdigit(), f"{name}: {line}"
