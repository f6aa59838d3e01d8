"""Who asks for a change, and whether they may.

The command line, workers and the supervisor are their owner's own processes: nobody is asked there, and everything is
allowed. The app, once it is shared, names a provider that tells who is behind the call that is being answered. Every
function that starts, changes, uploads or deletes asks here first; so do the two places through which all writing goes
(the run store's transactions and `cpd.files`), so that a function that forgot is refused all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from cpd.errors import CpdError


class AccessError(CpdError):
    """Who asks may not do this."""


class Role(IntEnum):
    """What a person may do; each may all that stands before it."""

    NONE = 0  # not even look
    VIEWER = 1  # look at everything, change nothing
    EDITOR = 2  # start, steer and stop runs, edit plans, upload, make projects
    OWNER = 3  # also name files and folders of the machine, and what holds for the whole workspace


@dataclass(frozen=True)
class Person:
    """Who asks. `name` is what the sign-in calls them, "" for nobody in particular."""

    name: str
    role: Role


ALONE = Person("", Role.OWNER)  # whoever owns the process, where nobody else can reach it
NOBODY = Person("", Role.NONE)

_TAKES = {Role.VIEWER: "a viewer", Role.EDITOR: "an editor or an owner", Role.OWNER: "an owner"}

_who: Callable[[], Person] | None = None
_log = logging.getLogger("cpd.access")


def ask_by(who: Callable[[], Person] | None) -> None:
    """From now on `who` tells who asks, at every call anew; None to ask nobody again."""
    global _who
    _who = who


def is_shared() -> bool:
    """Whether others than the owner can be behind a call."""
    return _who is not None


def person() -> Person:
    """Who asks now. A provider that fails has told nothing, and nobody may do anything."""
    if _who is None:
        return ALONE
    try:
        return _who()
    except Exception:  # noqa: BLE001  whatever goes wrong in there must not open a door
        _log.exception("who asks could not be told, so nobody may do anything")
        return NOBODY


def may_change() -> bool:
    return person().role >= Role.EDITOR


def require(role: Role, what: str) -> None:
    """Let through who has at least this role.

    Args:
        what: is being asked for, as it follows "may not", e.g. "start a run".
    Raises:
        AccessError: who asks has a lesser one.
    """
    now = person()
    if now.role < role:
        name = now.name or "This visitor"
        looks = " may look on but not" if now.role >= Role.VIEWER else " may not"
        raise AccessError(
            f"{name}{looks} {what}: that takes {_TAKES[role]}, and sharing.toml of the workspace names them."
        )


def require_look() -> None:
    """Raises AccessError for who may not even look."""
    require(Role.VIEWER, "look at this workspace")


def require_change(what: str = "change anything") -> None:
    """Raises AccessError for who may only look on."""
    require(Role.EDITOR, what)


def require_owner(what: str) -> None:
    """Raises AccessError for everybody but an owner."""
    require(Role.OWNER, what)
