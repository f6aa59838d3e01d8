"""Files that are either whole or not there, and disk errors in words."""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cpd.access import require_change
from cpd.errors import StorageError

TEMPORARY = ".tmp-"  # prefix of files that are being written; whoever finds one without its writer may delete it

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the limit on file size is reached; raise it (ulimit -f) or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder (environment variable CPD_HOME)",
    errno.EACCES: "permission denied; choose a folder of your own (environment variable CPD_HOME)",
    errno.EPERM: "permission denied; choose a folder of your own (environment variable CPD_HOME)",
}


def cache_folder() -> Path:
    """What can be made again: CPD_CACHE, else the user's cache folder (XDG base directory specification)."""
    own = os.environ.get("CPD_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cpd-studio" / "traces"


def storage_error(error: OSError, path: Path, doing: str = "write") -> StorageError:
    """`error` as one line that names the path and says what to do."""
    reason = _ADVICE.get(error.errno or 0) or f"{error.strerror or error}; check the disk and the path"
    return StorageError(f"{path}: cannot {doing}: {reason}.")


def make_folder(path: Path, new: bool = False) -> Path:
    """Create `path` and its parents for the owner alone.

    Raises:
        FileExistsError: `new` is set and the folder is there already.
        StorageError: it cannot be made.
    """
    if not path.is_dir():
        require_change()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=not new)
    except FileExistsError as error:
        if new:
            raise
        raise StorageError(f"{path}: cannot make this folder: a file of that name is in the way.") from error
    except OSError as error:
        raise storage_error(error, path, "make this folder") from error
    return path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`; on a clean exit it takes the place of `path`, durably.

    Whatever happens (a kill, a power cut, a full disk), `path` is the old file or the new one, never a part.
    """
    require_change()
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Delete temporary files of writers that were killed. Only who alone writes to `folder` may do so at once."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # gone meanwhile, or on a read-only disk: then it stays
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON that a person can read, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises StorageError when the file is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError as error:
        raise StorageError(f"{path}: not readable as JSON ({error}); the file is damaged.") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
