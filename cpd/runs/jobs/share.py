"""Help with another run's sensitivity scan: measure groups that nobody has begun, until there is none left."""

from __future__ import annotations

from cpd.runs.context import RunContext
from cpd.runs.jobs.sense import scanned
from cpd.runs.shared_scan import SCAN, Shared
from cpd.runs.workspace import check_id


def run(context: RunContext) -> None:
    """Options: those of the scan, and `scan`, its run. What is found goes into that run's folder."""
    share = Shared(context.run_dir.parent / check_id(context.spec.options[SCAN], "run"), leads=False)
    if not share.is_over:
        scanned(context, share, keeps=False)
