"""Who sits behind the session whose script is running: what the library asks once the app is shared."""

from __future__ import annotations

from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import state
from app.sharing import Sharing
from cpd import access
from cpd.access import NOBODY, Person, Role

_shared: Sharing | None = None


def share(sharing: Sharing) -> None:
    """From now on the library asks who is behind every call. Once in a process."""
    global _shared
    _shared = sharing
    access.ask_by(_person)


def sharing() -> Sharing | None:
    """How the app is shared, None where it is its owner's alone."""
    return _shared


def looks_on() -> bool:
    """Whether who is in view may only look: what would change something is drawn disabled."""
    return not access.may_change()


def _person() -> Person:
    """From the session's own connection, at every call: callbacks and fragments run without the app's main script, and
    one thread serves many people in turn. Without a session, where a download is put together, one may look at most."""
    context = get_script_run_ctx(suppress_warning=True)
    if _shared is None:
        return NOBODY
    if context is None:
        return Person("", Role.VIEWER)
    name = _shared.name_in(context.user_info)
    role = _shared.role(name)
    # A story that is shown alone is for reading, whoever opens it.
    return Person(name, min(role, Role.VIEWER) if state.is_presenting() else role)
