"""Options that several commands share, and the values behind them."""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpd.errors import PlanError, RunError, StorageError

if TYPE_CHECKING:
    from torch import Tensor, nn


def add_model(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    parser.add_argument(
        "spec",
        metavar="SPEC",
        nargs="?" if optional else None,
        help="timm:NAME, smp:ARCH/ENCODER, FILE.py:NAME or a folder",
    )
    parser.add_argument(
        "--weights", metavar="FILE", default="", help="safetensors or a state dict; never a pickled module"
    )
    parser.add_argument(
        "--set",
        metavar="K=V",
        action="append",
        default=[],
        help="argument of the architecture, e.g. num_classes=10; repeat",
    )
    parser.add_argument("--pretrained", action="store_true", help="the library's own trained weights; fetches them")


def add_data(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--data",
        metavar="D",
        required=required,
        default="",
        help="digits, digit-scenes, imagefolder:DIR, parquet:DIR, masks:DIR, voc:DIR, torch/NAME:DIR",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps or auto")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="F", default="", help="write the result as JSON; - for stdout instead of the table"
    )


def add_constraints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--multiple", type=int, default=1, metavar="N", help="kept widths are multiples of N")
    parser.add_argument("--minimum", type=int, default=1, metavar="N", help="fewest units that a group keeps")
    parser.add_argument(
        "--max-ratio", type=float, default=1.0, metavar="R", help="largest pruning ratio of any group, 0..1"
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="seconds that tracing may take (default 120)"
    )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """`--set k=v`, values read as Python literals, text otherwise."""
    return dict(pair(text, "--set") for text in arguments.set)


def pair(text: str, option: str) -> tuple[str, Any]:
    """("num_classes", 10) of "num_classes=10".

    Raises:
        RunError: there is no name or no sign of equality.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RunError(f"{option} {text}: give NAME=VALUE.")
    return name.strip(), literal(value.strip())


def literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def share(text: str, option: str) -> tuple[str, float]:
    """("macs", 0.25) of "macs=0.25".

    Raises:
        PlanError: no name or no number; the range is checked where the plan is made.
    """
    name, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not equals or not name or math.isnan(number):
        raise PlanError(f"{option} {text}: give NAME=NUMBER, e.g. macs=0.25.")
    return name, number


def whole(text: str, option: str) -> tuple[str, int]:
    """("layer1.*", 8) of "layer1.*=8".

    Raises:
        PlanError: no name, or no whole number of 1 or more.
    """
    name, number = share(text, option)
    if number < 1 or not number.is_integer():
        raise PlanError(f"{option} {text}: give GROUP=N with a whole number of units, 1 or more.")
    return name, int(number)


def targets(texts: Iterable[str], run: bool = False) -> dict[str, float]:
    """`--target macs=0.25` of a plan or of a run; checked at once, so that a slip costs no minute of scoring."""
    from cpd.prune.solve import RUN_TARGETS, TARGETS, check_target

    found = dict(share(text, "--target") for text in texts)
    if found:
        check_target(found, RUN_TARGETS if run else TARGETS)
    return found


def load(arguments: argparse.Namespace) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model that the options name."""
    from cpd.models import load_model

    return load_model(arguments.spec, arguments.weights or None, settings(arguments), arguments.pretrained)


def write_json(place: str, value: Any) -> None:
    """To a file, or to stdout for "-".

    Raises:
        StorageError: the file cannot be written.
    """
    text = json.dumps(value, indent=1) + "\n"
    if place == "-":
        sys.stdout.write(text)
        return
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text)
    except OSError as error:
        raise StorageError(f"{place}: cannot be written ({error.strerror}).") from error


def check_writable(place: str) -> None:
    """Find out before the work, not after it.

    Raises:
        StorageError: `place` is in a folder that cannot be made or written.
    """
    if not place or place == "-":
        return
    path = Path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise StorageError(f"{place}: cannot be written ({error.strerror}).") from error


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Rows, the first of them the head, as text in columns; `right` names those that hold numbers."""
    wide = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    flush = set(right)
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.rjust(wide[c]) if c in flush else cell.ljust(wide[c]) for c, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
        if not number:
            lines.append("  ".join("-" * w for w in wide))
    return "\n".join(lines)
