"""Sensitivity: every group really cut, alone, at many widths; what it costs in accuracy and what it buys in time."""

from __future__ import annotations

from app import engine, guards, state
from app.widgets import chrome
from app.widgets.sensing import KIND, chooser, scan_panel
from cpd.errors import CpdError

chrome.head("Sensitivity", "One group at a time is really cut, never masked, and the network that is left is measured. "
            "What can go cheaply shows at once.")  # fmt: skip
project = guards.project()
comb = guards.comb(project)
ready = True
if not any(group.prunable for group in comb.record.groups):
    chrome.note("Nothing can be cut", "All groups of this model are locked; the Comb screen says why.", "lock")
else:
    try:
        scanned = state.sensitivity(project)
    except CpdError:  # said below
        scanned = None
    busy = bool(engine.active(project, KIND))
    ready = not busy and scanned is not None and scanned.model == comb.record.model
    if not busy:
        chooser(project, comb, first=not ready)
    scan_panel(project, comb)
chrome.onward("plan", ready=ready)
