"""Starts the checker in a process of its own and turns whatever becomes of it into one answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cpd.runs.workspace import REPOSITORY
from cpd.uploads import limits

_PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")  # no tokens, no proxies


def ask(kind: str, file: Path, folder: Path) -> dict[str, Any]:
    """What the checker says of `file`: {"refused": why} or facts. Never raises for the file's sake."""
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-s", "-m", "cpd.uploads.check", kind, str(file), str(folder)],
            cwd=REPOSITORY,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limits.WALL_S[kind],
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"takes more than {limits.WALL_S[kind]} s to be checked."}
    return read_answer(done.stdout, done.returncode)


def environment() -> dict[str, str]:
    """What a process that checks gets of this one's environment."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"OMP_NUM_THREADS": "1"}


def read_answer(output: bytes, code: int) -> dict[str, Any]:
    """The checker's line, believed only when its exit status agrees."""
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and (code == 0) == ("refused" not in answer) and code in (0, 3):
        return answer
    return {"refused": "needs more memory or time to be checked than any such file should."}
