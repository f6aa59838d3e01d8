"""The job in six steps and two ways to look back on it: what each is for, what is done, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass

JOB = ("start", "comb", "importance", "sensitivity", "plan", "run")
PAGES = (*JOB, "compare", "present")
TITLES = {"start": "Start", "comb": "Comb", "importance": "Importance", "sensitivity": "Sensitivity", "plan": "Plan", "run": "Run",
          "compare": "Compare", "present": "Present"}  # fmt: skip
ICONS = {
    "start": ":material/flag:",
    "comb": ":material/account_tree:",
    "importance": ":material/leaderboard:",
    "sensitivity": ":material/ssid_chart:",
    "plan": ":material/tune:",
    "run": ":material/rocket_launch:",
    "compare": ":material/scatter_plot:",
    "present": ":material/co_present:",
}
PURPOSE = {
    "start": "Open a model with its data, and measure it as it is.",
    "comb": "See which channels, heads or hidden units must leave together.",
    "importance": "Score every unit by how much the model needs it.",
    "sensitivity": "Cut every group alone, for real, and measure what it costs and what it buys.",
    "plan": "Choose how much of every group to cut, with the savings in view.",
    "run": "Prune while the dense model teaches, then compare before and after.",
    "compare": "Set finished runs against each other and against baselines, and see what changed.",
    "present": "Tell a run in five plain steps, on screen or as a file that needs no network.",
}


@dataclass(frozen=True)
class Progress:
    """What a project has so far."""

    measured: bool = False
    combed: bool = False
    scored: bool = False
    sensed: bool = False
    planned: bool = False
    finished: bool = False


def done(progress: Progress) -> dict[str, bool]:
    """Per step of the job whether it is behind the user."""
    return {
        "start": progress.measured,
        "comb": progress.combed,
        "importance": progress.scored,
        "sensitivity": progress.sensed,
        "plan": progress.planned,
        "run": progress.finished,
    }


def following(progress: Progress) -> str:
    """The page that comes next: the first step that is not done, seen from the end of what is; "present" when all are."""
    state = done(progress)
    if not progress.combed or not progress.measured:
        return "comb" if progress.combed else "start"
    return next((page for page in JOB[1:] if not state[page] and page != "comb"), "present")
