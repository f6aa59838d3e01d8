"""What the app and the command line ask of runs: submit, pause, resume, stop, move, clone, roll back.

None of these waits for a worker: they write what is wanted to the store, and see to it that a supervisor lives.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cpd.access import require_change, require_owner
from cpd.errors import RunError
from cpd.files import make_folder, write_json
from cpd.runs import jobs
from cpd.runs.checkpoint import Saved, copy_checkpoint, list_checkpoints
from cpd.runs.likeness import BEGIN, changed, like
from cpd.runs.project import names_the_machine, open_project
from cpd.runs.shared_scan import SCAN, helpers
from cpd.runs.sound import check
from cpd.runs.spec import TRAINED, RunSpec
from cpd.runs.store import Run, Store
from cpd.runs.workspace import database, new_run_id, open_workspace, run_folder

MOST_NOTE = 2000  # characters of a note


def submit(root: Path, spec: RunSpec) -> str:
    """Queue a run and make sure that somebody starts it; its id.

    Paths in `spec` are taken relative to the current folder.

    Raises:
        RunError: no such kind or project, or settings of a training that cannot be. StorageError: the workspace cannot be
            written.
    """
    require_change("start a run")
    spec = spec.anchored(Path.cwd())
    _require_names(spec)
    check(root, spec)
    run = _submit(root, spec)
    for helper in helpers(spec, run):
        _submit(root, helper)
    return run


def stop(root: Path, run: str) -> Run:
    """Ask a run, and those that help it, to stop at the next step, with a checkpoint. Nothing happens to one that is over."""
    require_change("stop a run")
    with _store(root) as store:
        row = store.run(run)
        for other in store.list_runs(row.spec.project, ("share",)):
            if other.spec.options.get(SCAN) == run and not other.is_over:
                store.request_stop(other.id)
        store.request_stop(run)
        _ensure(root)  # it sees to runs that do not listen, or whose worker is dead
        return store.run(run)


def pause(root: Path, run: str) -> Run:
    """Ask a run to save a checkpoint at its next step and leave; it keeps its place in the queue.

    Raises:
        RunError: it neither waits nor runs.
    """
    require_change("pause a run")
    with _store(root) as store:
        if store.request_pause(run) not in ("paused", "pausing"):
            raise RunError(f"run {run} is {store.run(run).state}; only a waiting or running run can be paused.")
        _ensure(root)
        return store.run(run)


def resume(root: Path, run: str) -> Run:
    """Go on with a paused, stopped or failed run from its last checkpoint.

    Raises:
        RunError: it is none of these.
    """
    require_change("resume a run")
    with _store(root) as store:
        if not store.resume(run):
            raise RunError(f"run {run} is {store.run(run).state}; only a paused, stopped or failed run can be resumed.")
        _ensure(root)
        return store.run(run)


def move(root: Path, run: str, to: int) -> int:
    """Put a waiting or paused run at position `to` of the queue, 0 for the first; where it is now.

    Raises:
        RunError: it does not wait.
    """
    require_change("move a run in the queue")
    with _store(root) as store:
        return store.move(run, to)


def clone(
    root: Path, run: str, changes: Mapping[str, Any] | None = None, seed: int | None = None, device: str = ""
) -> str:
    """A new run like `run`, with some options changed; its id.

    Args:
        changes: options by name, None to leave one out; a `target` takes the place of a `plan`, and the reverse.
        device: another one, "" for the same.

    Raises:
        RunError: no such run, or a change that cannot be.
    """
    require_change("start a run")
    with _store(root) as store:
        before = store.run(run).spec
    spec = like(before, changes or {}, seed, device)
    _require_names(spec, before)
    check(root, spec)
    return _submit(root, spec)


def roll_back(root: Path, run: str, step: int, changes: Mapping[str, Any] | None = None, device: str = "") -> str:
    """A new run that goes on from a checkpoint of `run`, with other options: another target, other ratios; its id.

    It begins with what `run` recorded up to that step. `run` itself stays as it is.

    Args:
        changes, device: as for `clone`.

    Raises:
        RunError: `run` has no checkpoint of that step, or is not a training.
    """
    require_change("start a run")
    with _store(root) as store:
        spec = store.run(run).spec
    if spec.kind not in TRAINED:
        raise RunError(f"run {run} is of kind {spec.kind}; only a training has a checkpoint to go on from.")
    saved = next((row for row in reversed(checkpoints(root, run)) if row.step == step), None)
    if saved is None:
        there = ", ".join(str(row.step) for row in checkpoints(root, run)) or "none"
        raise RunError(f"run {run} has no checkpoint of step {step}; there are: {there}.")
    options = changed(spec.options, changes or {}) | {BEGIN: {"run": run, "step": step}}

    def begin(store: Store, new: str, folder: Path) -> None:
        copy_checkpoint(saved, folder / "checkpoints")
        store.copy_history(run, new, step)
        store.add_event(new, step, "note", f"goes on from step {step} of {run}", {"run": run})

    new = replace(spec, options=options, device=device or spec.device)
    _require_names(new, spec)
    check(root, new)
    return _submit(root, new, begin)


def annotate(root: Path, run: str, note: str) -> Run:
    """Keep a note on a run, in place of the one before; "" for none.

    Raises:
        RunError: no such run, or the note is longer than 2,000 characters.
    """
    require_change("write a note on a run")
    text = note.strip()
    if len(text) > MOST_NOTE:
        raise RunError(f"the note on run {run} has {len(text)} characters; {MOST_NOTE} at most are kept.")
    with _store(root) as store:
        store.annotate(run, text)
        return store.run(run)


def checkpoints(root: Path, run: str) -> list[Saved]:
    """The places of a run that one can go back to, oldest first."""
    rows = {row.step: row for row in list_checkpoints(run_folder(root, run) / "checkpoints")}
    return list(rows.values())


def _submit(root: Path, spec: RunSpec, begin: Callable[[Store, str, Path], None] | None = None) -> str:
    jobs.home(spec.kind)
    if spec.project:
        open_project(root, spec.project)
    open_workspace(root)
    run = new_run_id(spec.kind)
    folder = make_folder(run_folder(root, run), new=True)
    try:
        write_json(folder / "spec.json", spec.to_dict())
        with _store(root) as store:
            if begin is not None:
                begin(store, run, folder)
            store.add(run, spec)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _ensure(root)
    return run


def _require_names(spec: RunSpec, before: RunSpec | None = None) -> None:
    """A teacher that is named anew may be a file of this machine that runs: for that one has to be an owner."""
    named, known = (
        [row.options.get(name) for name in ("teacher", "teacher_weights", "teacher_settings")] if row else []
        for row in (spec, before)
    )
    if named != known and names_the_machine(str(named[0] or ""), str(named[1] or ""), named[2] or {}, ""):
        require_owner("name files, folders or downloads of this machine")


@contextmanager
def _store(root: Path) -> Iterator[Store]:
    if not database(root).exists():
        open_workspace(root)
    store = Store(database(root))
    try:
        yield store
    finally:
        store.close()


def _ensure(root: Path) -> None:
    from cpd.runs import supervisor

    supervisor.ensure(root)
