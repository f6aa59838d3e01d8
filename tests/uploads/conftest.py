"""A project's folder, and the checker kept warm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpd.uploads.child import read_answer
from tests.within import within

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[[str, Path, Path], dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "projects" / "bench"
    folder.mkdir(parents=True, mode=0o700)
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[Ask]:
    """Answers as `cpd.uploads.child.ask` does; `ask.ends` lists the exit status and processor time of each checker."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", str(Path(__file__).with_name("warm.py"))]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(kind: str, file: Path, folder: Path) -> dict[str, Any]:
            print(json.dumps([kind, str(file), str(folder)]), file=process.stdin, flush=True)
            with within(process, 120, f"the check of {file.name}"):
                output, code, seconds = json.loads(process.stdout.readline())
            ask.ends.append((code, seconds))  # type: ignore[attr-defined]
            return read_answer(output.encode(), code)

        ask.ends = []  # type: ignore[attr-defined]
        yield ask
        with within(process, 30, "the end of the checker"):
            process.stdin.close()
            process.wait()
