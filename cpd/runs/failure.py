"""Any exception as one plain sentence, for the row of a run that failed."""

from __future__ import annotations

import re
from pathlib import Path

from cpd.errors import CpdError
from cpd.files import storage_error

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED", re.I)


def is_out_of_memory(error: BaseException) -> bool:
    """Known by name and text: torch need not be imported to ask."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool({"MemoryError", "OutOfMemoryError"} & names) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
    )


def sentence(error: BaseException, device: str = "cpu") -> str:
    """What was wrong and what to do, on one line."""
    if isinstance(error, CpdError):
        return one_line(str(error))
    if is_out_of_memory(error):
        where = "This machine" if device == "cpu" else f"Device {device}"
        return f"{where} ran out of memory; use a smaller batch size, then resume the run."
    if isinstance(error, OSError) and error.errno is not None:
        return str(storage_error(error, Path(str(error.filename or "the run's folder")), "use this file"))
    if isinstance(error, KeyboardInterrupt):
        return "The run was interrupted from the keyboard; resume it to go on."
    text = one_line(str(error))
    return f"Unexpected {type(error).__name__}{': ' + text if text else ''}; the traceback is in worker.log."


def one_line(text: str, most: int = 400) -> str:
    """The text without line breaks, cut where it gets too long for a table."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
