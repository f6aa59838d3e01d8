"""The command line: one file a command, each with HELP, `configure(parser)` and `run(arguments) -> exit status`.

Exit status 0: done; 1: a check did not hold, or a defect of ours; 2: what was asked for cannot be done, with one line
that says why.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from cpd import __version__
from cpd.errors import CpdError

COMMANDS = ("doctor", "comb", "score", "sense", "plan", "train", "run", "runs", "measure", "export", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; errors of the user's making end as one line on stderr and status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m cpd", description="Comb, Prune, Distill: structured pruning for vision models.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"cpd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        # The files import no torch: --help answers at once.
        module = importlib.import_module(f"cpd.cli.{name}_command")
        command = commands.add_parser(
            name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.configure(command)
        command.set_defaults(do=module.run)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.do(chosen))
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


_EPILOG = """
SPEC is timm:NAME, smp:ARCH/ENCODER, FILE.py:NAME (a function or class), or the folder of a pruned model.
DATA is digits (built in), imagefolder:DIR, parquet:DIR (Hugging Face columns), or a name timm knows (torch/cifar10:DIR).

  python -m cpd comb timm:resnet18
  python -m cpd plan timm:resnet18 --target macs=0.5 --criterion l2 --out plan.json
  python -m cpd run net.py:Net --weights net.pt --data imagefolder:photos --plan plan.json --out runs/first
"""
