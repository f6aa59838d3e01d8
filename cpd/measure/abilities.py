"""What this machine can do for a training, found out without torch, which takes seconds to ask.

Where that cannot be told, nothing is said against it: the run asks torch itself, and ends with the reason.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cpd.errors import DeviceError, RunError
from cpd.measure.machine import no_compiler, no_gpu, usable_cores

if TYPE_CHECKING:
    from cpd.distill.settings import TrainSettings


@dataclass(frozen=True)
class Abilities:
    """Of one device of this machine.

    Attributes:
        device: as it was asked for.
        kind: what that comes to: "cpu", "cuda" or "mps".
        cores: that this process may use.
        gpus: that torch can use, None where that cannot be told.
        torch: version of the torch that is installed, "" where there is none.
        bf16: whether the processor counts in bf16, None where that cannot be told.
        compiler: why torch.compile does not work here, "" where nothing speaks against it.
    """

    device: str
    kind: str
    cores: int
    gpus: int | None
    torch: str
    bf16: bool | None
    compiler: str

    @property
    def most_processes(self) -> int:
        """How many can share a run sensibly: one a GPU, or one a core."""
        if self.kind == "cuda":
            return max(1, self.gpus if self.gpus is not None else 8)
        return self.cores if self.kind == "cpu" else 1

    def check(self, settings: TrainSettings) -> None:
        """Refuse what this machine cannot do.

        Raises:
            DeviceError: the device or its precision is not there. RunError: there is no compiler.
        """
        from cpd.distill.together import check_device

        index = int(self.device.partition(":")[2] or 0)
        if self.kind == "cuda" and self.gpus is not None and self.gpus <= index:
            raise DeviceError(no_gpu(self.device, self.gpus, cuda_build() is not False, self.torch))
        check_device(settings, self.kind, index, self.gpus)
        if settings.compile and self.compiler:
            raise RunError(self.compiler)


def abilities(device: str = "auto") -> Abilities:
    """What this machine can do on that device."""
    found = gpus()
    kind = device.partition(":")[0]
    if kind == "auto":
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        kind = "cuda" if found else "mps" if apple else "cpu"
    missing = no_compiler(kind) if _lacks_compiler(kind) else ""
    return Abilities(device, kind, usable_cores(), found, _version(), _bf16(), missing)


@cache
def gpus() -> int | None:
    """NVIDIA GPUs that torch can use here; None where only torch itself could tell."""
    build = cuda_build()
    if build is None or (build and Path("/dev/dxg").exists()):  # AMD's build, or a Windows below this Linux
        return None
    if not build:
        return 0
    if not sys.platform.startswith("linux"):
        return None
    listed = len([path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = None if visible is None else [part for part in visible.split(",") if part.strip() not in ("", "-1")]
    return listed if named is None else min(listed, len(named))


@cache
def cuda_build() -> bool | None:
    """Whether the installed torch was built for NVIDIA GPUs; None for one that was built for others, or cannot be read."""
    text = _version_file()
    if re.search(r"^hip\b[^=]*=\s*'", text, re.M):
        return None
    found = re.search(r"^cuda\b[^=]*=\s*(None|'[^']*')", text, re.M)
    return None if found is None else found[1] != "None"


@cache
def _bf16() -> bool | None:
    """By the flags that Linux lists, of x86 and of Arm."""
    try:
        flags = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        return None
    return (
        None
        if flags is None
        else not {"amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16"}.isdisjoint(flags[1].split())
    )


def _version() -> str:
    found = re.search(r"^__version__\s*=\s*'([^']*)'", _version_file(), re.M)
    return found[1] if found else ""


@cache
def _version_file() -> str:
    spec = importlib.util.find_spec("torch")
    try:
        return (Path(spec.origin).parent / "version.py").read_text() if spec and spec.origin else ""
    except OSError:
        return ""


def _lacks_compiler(kind: str) -> bool:
    """By the names that torch's inductor looks for."""
    if kind == "cuda":
        c = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "clang")), "")
        return importlib.util.find_spec("triton") is None or not shutil.which(c)
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is None
