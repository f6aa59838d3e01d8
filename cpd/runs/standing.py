"""How a run stands, in one plain sentence, also when its row cannot say so: its worker is dead, or the disk is full."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cpd.errors import CpdError
from cpd.runs.lock import is_held
from cpd.runs.rows import MEANING, Run
from cpd.runs.workspace import open_workspace, run_folder

INTERRUPTED = "interrupted"  # not a state of the store: its row says "running", and nobody is


@dataclass(frozen=True)
class Standing:
    """`state`: one of the store's, or INTERRUPTED; `sentence`: what that means for this run."""

    state: str
    sentence: str


def standing(root: Path, run: Run) -> Standing:
    """What to tell about a run. Looks at its lock and, where nobody holds that, at the disk."""
    if run.state == "failed":
        return Standing(run.state, run.error or "It ended without saying why; its log has the last words.")
    if run.state in ("running", "pausing", "stopping"):
        try:
            held = is_held(run_folder(root, run.id) / "lock")
        except CpdError as error:
            return Standing(INTERRUPTED, str(error))
        if not held and run.updated == run.launched:
            return Standing(run.state, "Its worker is starting.")
        if not held:
            return Standing(INTERRUPTED, _why_interrupted(root))
    if run.state == "queued" and run.attempts:
        return Standing(run.state, f"Its worker died; attempt {run.attempts + 1} follows.")
    if run.state == "queued" and run.halvings:
        return Standing(run.state, "It ran out of memory and waits to go on with half as many images at a time.")
    return Standing(run.state, MEANING[run.state])


def _why_interrupted(root: Path) -> str:
    try:
        open_workspace(root)
    except CpdError as error:
        return f"Its worker died, and it cannot go on: {error}"
    return "Its worker died; it is started again from its last checkpoint in a moment."
