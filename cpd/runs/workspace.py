"""The folder that holds every project and run, and names that are safe inside it."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from pathlib import Path

from cpd.errors import RunError
from cpd.files import make_folder, storage_error

HOME_VARIABLE = "CPD_HOME"
ALONE = "run"  # id of the only run in a folder outside a workspace
REPOSITORY = Path(__file__).resolve().parents[2]

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def workspace_root() -> Path:
    """Where the workspace is: the environment variable CPD_HOME, else `workspace/` beside the package."""
    home = os.environ.get(HOME_VARIABLE, "").strip()
    return Path(home).expanduser().resolve() if home else REPOSITORY / "workspace"


def open_workspace(root: Path | None = None) -> Path:
    """The workspace, made where it is missing (mode 0700) and proven writable.

    Raises:
        StorageError: it cannot be made or written: read-only, full, or another's.
    """
    root = workspace_root() if root is None else root
    make_folder(root)
    for part in ("projects", "runs"):
        make_folder(root / part)
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"\0" * 4096)  # a full disk still gives names, but no blocks
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(error, root, "write to the workspace") from error
    return root


def check_id(name: str, what: str) -> str:
    """`name` itself, when it is one of our ids: lower case letters, digits, '-' and '_'; so it is safe as a folder.

    Raises:
        RunError: it is not.
    """
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise RunError(f"{name!r} is not the id of a {what}: ids are lower case letters, digits, '-' and '_'.")
    return name


def slug(text: str, otherwise: str) -> str:
    """An id made from what a user typed; `otherwise` where nothing of it can stay."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or otherwise


def new_run_id(kind: str) -> str:
    """Sorts by time within a kind: distill-20261120-155027-3fa9c1."""
    return check_id(f"{slug(kind, 'run')[:24]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}", "run")


def run_folder(root: Path, run: str) -> Path:
    """Where a run's files are."""
    return root / "runs" / check_id(run, "run")


def database(root: Path) -> Path:
    return root / "runs.db"
