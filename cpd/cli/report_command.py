"""Tell finished runs as one offline HTML file, for stakeholders: the story in five steps, and how all of it was measured."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cpd.cli import options
from cpd.errors import RunError

HELP = "the stakeholder report, one offline HTML file"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="DIR", nargs="+", help="folder of a finished run; several are compared")
    parser.add_argument("--out", metavar="F", default="report.html", help="file to write (default report.html)")
    parser.add_argument("--title", default="", help="what the model is called in the report")


def run(arguments: argparse.Namespace) -> int:
    from cpd.export.result import Handover
    from cpd.files import replacing
    from cpd.report.appendix import appendix
    from cpd.report.comparison import comparison
    from cpd.report.page import page
    from cpd.report.story import tell
    from cpd.runs.finished import read_finished

    if len(arguments.runs) > 6:
        raise RunError(f"{len(arguments.runs)} runs: a report compares six at the most.")
    options.check_writable(arguments.out)
    stories, tables = [], []
    for folder in map(Path, arguments.runs):
        found = read_finished(folder)
        parity = folder / "handover" / "parity.json"
        handover = Handover.from_dict(json.loads(parity.read_text()), str(parity)) if parity.exists() else None
        stories.append(tell(found, arguments.title))
        tables.append(appendix(stories[-1], handover))
    glance = comparison([story.run for story in stories]) if len(stories) > 1 else None
    text = page(stories, tables, glance)
    with replacing(Path(arguments.out)) as file:
        file.write(text.encode())
    print(f"{arguments.out}: {len(text.encode()) / 1e6:.1f} MB, opens without a network.")
    return 0
