"""What every benchmark here shares: its options, its table, its JSON, its verdict."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A benchmark runs alone, `python benchmarks/demo.py`: the project is importable, and this folder no longer is, because a
# file here may be called like the library that it measures.
sys.path[:] = [str(ROOT), *(p for p in sys.path if Path(p or ".").resolve() != ROOT / "benchmarks")]


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="F", help="write the table here")
    parser.add_argument("--check", action="store_true", help="exit 1 when the bar is missed")
    parser.add_argument("--quick", action="store_true", help="under two minutes: fewer steps, seeds or settings")
    parser.add_argument("--threads", type=int, default=0, help="torch threads, 0 for as many as it takes by itself")
    return parser


def begin(arguments: argparse.Namespace) -> None:
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)


def machine() -> dict[str, Any]:
    """What the figures were measured on; the load says whether it was doing anything else."""
    import torch

    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A Markdown table, so that it can go into the README as it is."""
    texts = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    for number, row in enumerate(texts):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def end(arguments: argparse.Namespace, result: dict[str, Any], figure: str, holds: bool) -> int:
    """Write the JSON, print the line that states the figure, and say by exit status whether the bar holds."""
    result = result | {"machine": machine(), "figure": figure, "holds": holds, "quick": arguments.quick}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    print(figure + (" The bar holds." if holds else " The bar is MISSED."))
    return 1 if arguments.check and not holds else 0
