"""The checker: `python -m cpd.uploads.check KIND FILE FOLDER` says in one line of JSON what FILE is, or why it is refused.

KIND is "weights" or "data"; FILE lies in FOLDER, and what is made of it goes below FOLDER too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cpd.errors import CpdError
from cpd.uploads import limits
from cpd.uploads.fence import Forbidden, OutOfTime, fence, limit

OUT = "out"  # what is made, below FOLDER


def check(kind: str, file: Path, folder: Path) -> dict[str, Any]:
    """{"refused": why} or what the file is. For a process that limits itself and ends afterwards."""
    size = file.stat().st_size
    limit(limits.MEMORY_BYTES + 4 * size, limits.CPU_S[kind], max(2 * size, limits.ONE_FILE_BYTES) + limits.MIB)
    fence(folder)
    try:
        return _weights(file, folder) if kind == "weights" else _data(file, folder)
    except CpdError as error:
        return {"refused": str(error).replace(f"{file}: ", "").replace(str(file), "it")}  # the user gave another name
    except MemoryError:
        return {"refused": f"needs more than {limits.MEMORY_BYTES // limits.MIB} MiB of memory to be checked."}
    except OutOfTime:
        return {"refused": f"takes more than {limits.CPU_S[kind]} s to be checked."}
    except Forbidden as tried:
        return {"refused": f"tried something that no such file needs ({tried})."}
    except OSError as error:
        return {"refused": f"cannot be read or kept ({error.strerror or error})."}
    except Exception as error:  # noqa: BLE001  whatever a file from anywhere breaks in a parser, it is refused for
        return {"refused": f"is damaged ({type(error).__name__})."}


def _weights(file: Path, folder: Path) -> dict[str, Any]:
    from cpd.models.header import check_head
    from cpd.uploads.tensors import check_safetensors

    if file.suffix == ".safetensors":
        text = check_safetensors(file).get("cpd")
        head = None if text is None else check_head(text, file)
        return {"made": None, "bundle": None if head is None else head.spec}

    from cpd.uploads.state_dict import convert

    made = folder / OUT
    convert(file, made)
    check_safetensors(made)
    return {"made": OUT, "bundle": None}


def _data(file: Path, folder: Path) -> dict[str, Any]:
    from cpd.uploads.unpack import unpack

    made = folder / OUT
    made.mkdir(mode=0o700)
    return {"made": OUT, **unpack(file, made)}


def line(answer: Mapping[str, Any]) -> str:
    """The answer on one line, whatever is in it."""
    return json.dumps(answer, ensure_ascii=True)


def main(arguments: Sequence[str]) -> int:
    kind, file, folder = arguments
    answer = check(kind, Path(file), Path(folder))
    print(line(answer), flush=True)
    return 3 if "refused" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
