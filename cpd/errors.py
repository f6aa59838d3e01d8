"""The errors a user can cause: one line that says what was wrong, where, and what to do.

The command line prints the text and exits with status 2; a page shows it in place. Anything else is a defect of
ours and keeps its traceback.
"""

from __future__ import annotations


class CpdError(Exception):
    """Base of every error that is meant to be read by a user."""


class ModelError(CpdError):
    """A model cannot be found, built, or filled with the weights given."""


class TraceError(CpdError):
    """A model cannot be turned into a graph."""


class DataError(CpdError):
    """A data set cannot be found or read."""


class PlanError(CpdError):
    """A ratio, target or plan that does not fit the model."""


class DeviceError(CpdError):
    """A device that was asked for is not there."""


class StorageError(CpdError):
    """A file or folder cannot be read or written."""


class RunError(CpdError):
    """A run cannot be started, found or steered."""


class Diverged(RunError):
    """What a run computes is no longer finite; its last checkpoint still is."""


class ExportError(CpdError):
    """A pruned model cannot be written in the form that was asked for."""
