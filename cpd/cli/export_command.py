"""Hand a finished run's model over: ONNX, torch.export's .pt2, Python and safetensors; opened again and compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpd.cli import options
from cpd.cli.progress import Bar
from cpd.errors import ExportError
from cpd.export import FORMATS

HELP = "files that open without this project, compared with the pruned model"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="DIR", help="folder of a finished run")
    parser.add_argument(
        "--format", metavar="F,F", default=",".join(FORMATS), help=f"some of {', '.join(FORMATS)} (default: all)"
    )
    parser.add_argument("--out", metavar="DIR", default="", help="where to (default: DIR/handover)")
    parser.add_argument(
        "--images", type=int, default=512, metavar="N", help="held-out images to compare on (default 512)"
    )
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which takes a minute")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cpd.export.handover import check_formats
    from cpd.runs.hand_over import hand_over_run

    if arguments.images < 1:
        raise ExportError(f"--images {arguments.images}: compare on 1 image or more.")
    formats = check_formats([name.strip() for name in arguments.format.split(",") if name.strip()])
    options.check_writable(arguments.json)
    folder = Path(arguments.out) if arguments.out else Path(arguments.run) / "handover"
    with Bar("exporting") as bar:
        found = hand_over_run(
            Path(arguments.run),
            folder,
            formats=formats,
            images=arguments.images,
            compiled=arguments.compile,
            progress=bar,
        )
    if arguments.json:
        options.write_json(arguments.json, found.to_dict())
    if arguments.json != "-":
        rows = [["form", "MiB", "largest difference", "ms", "verified"]]
        batch = found.eager[0].batch
        for form in found.forms:
            ms = next((f"{row.median_ms:.2f}" for row in form.latency if row.batch == batch), "")
            gap = "" if form.difference is None else f"{form.difference:.1e}"
            rows.append([form.form, f"{form.size_bytes / 2**20:.2f}", gap, ms, form.verdict])
        print(options.table(rows, right=(1, 2, 3)))
        print(f"{found.images} {'held-out images' if found.inputs == 'images' else 'random inputs'}; ms at batch {batch}, "
              f"eager {found.eager[0].median_ms:.2f}. {folder}")  # fmt: skip
    return 0 if found.verified else 1
