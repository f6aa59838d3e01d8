"""What this machine is called, and the device that was asked for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cpd import __version__
from cpd.errors import DeviceError

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "streamlit",
    "plotly",
    "safetensors",
    "segmentation-models-pytorch",
)


def surroundings() -> dict[str, str]:
    """This program, machine and packages in words: what a report of a defect needs."""
    return {
        "cpd": f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}",
        "machine": f"{processor_name()}, {memory_gib():.0f} GiB memory",
        "packages": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    }


def memory_gib() -> float:
    import psutil

    return float(psutil.virtual_memory().total) / 2**30


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def processor_name() -> str:
    """The processor in words, with the cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the platform's own name stays
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may run on, which a container or taskset makes fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is the first accelerator, else the CPU.

    Raises:
        DeviceError: it is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r}: give cpu, cuda, cuda:N, mps or auto.") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= (device.index or 0):
            raise DeviceError(no_gpu(name, count, bool(torch.version.cuda), torch.__version__))
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {name!r}: this machine has no Apple GPU; use cpu, or auto to take what there is.")
    if device.type not in ("cpu", "mps"):
        raise DeviceError(f"device {name!r}: give cpu, cuda, cuda:N, mps or auto.")
    return device


def no_gpu(name: str, count: int, cuda: bool, torch: str) -> str:
    """Why the GPU called `name` cannot be had; `cuda`: whether torch, of this version, was built for any."""
    why = f"{count} GPUs" if cuda else f"a torch without CUDA ({torch})"
    return f"device {name!r}: this machine has {why}; use cpu, or auto to take what there is."


def no_compiler(kind: str, why: str = "") -> str:
    """What torch.compile lacks on that kind of device; `why`: what it said itself."""
    needs = "Triton and a C compiler" if kind == "cuda" else "a C++ compiler (g++ or clang++)"
    return f"compile does not work here, it needs {needs}; install it, or turn compile off{f' ({why})' if why else ''}."


def device_name(device: torch.device) -> str:
    """The device in words: "AMD EPYC 7B13, 2 cores", "NVIDIA H200"."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor_name()
