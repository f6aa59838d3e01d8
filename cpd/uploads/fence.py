"""What the checker's process may no longer do: take memory and time without end, start programs, call out."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

_NEVER = frozenset(
    "os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty pty.spawn subprocess.Popen "
    "socket.connect socket.bind socket.sendto shutil.rmtree os.chmod os.chown os.link os.symlink os.kill".split()
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class OutOfTime(Exception):
    """The processor time is used up."""


class Forbidden(Exception):
    """Something was tried that no check needs."""


def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound this process: `memory_bytes` more than it holds now, `cpu_s` more than it has used, files of `file_bytes`.

    Two seconds before the kernel ends it, OutOfTime is raised, so that the reason can still be said.
    """
    os.umask(0o077)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _lower(resource.RLIMIT_NOFILE, 256)
    _limit_memory(memory_bytes)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    signal.signal(signal.SIGXCPU, _out_of_time)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails with EFBIG instead
    _lower(resource.RLIMIT_CPU, used + cpu_s, used + cpu_s + 2)


def _limit_memory(memory_bytes: int) -> None:
    """So many bytes more than the process holds now."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    soft = _address_space() + memory_bytes
    if most != resource.RLIM_INFINITY:
        soft = min(soft, most)
    resource.setrlimit(resource.RLIMIT_AS, (soft, most))


def fence(folder: Path) -> None:
    """From here on: no program, no connection, no writing outside `folder`. Cannot be taken back.

    Audit hooks do not hold against native code; nothing that is checked here is meant to run any.
    """
    inside = str(folder.resolve()) + os.sep

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NEVER:
            raise Forbidden(event)
        if event == "open" and len(arguments) == 3 and not isinstance(arguments[0], int):
            path, mode, flags = arguments
            writes = bool(flags & _WRITING) if isinstance(flags, int) else any(c in str(mode) for c in "wax+")
            if writes and not os.path.realpath(os.fsdecode(path)).startswith(inside) and path != os.devnull:
                raise Forbidden(event)

    sys.addaudithook(hook)


def _lower(what: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


def _address_space() -> int:
    """Bytes of address space of this process; libraries alone map some GiB of it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return 16 << 30
    return pages * os.sysconf("SC_PAGE_SIZE")


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
