"""States, metrics and events of all runs, in one SQLite file."""

from __future__ import annotations

from cpd.runs.connection import SCHEMA, StoreBusy
from cpd.runs.journal import Journal
from cpd.runs.rows import STATES, UNFINISHED, Event, Run, Series
from cpd.runs.states import States

__all__ = ["SCHEMA", "STATES", "UNFINISHED", "Event", "Run", "Series", "Store", "StoreBusy"]


class Store(States, Journal):
    """One SQLite file. Safe to share between threads; cheap to make in every process."""
