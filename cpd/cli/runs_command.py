"""Runs of the workspace, those that the screens show too: list, pause, resume, stop, move, clone, roll back.

  runs list                             every run, the queue in its order
  runs show RUN                         one run: how it stands, its checkpoints, its last events
  runs pause RUN, resume RUN, stop RUN
  runs move RUN first|last|up|down|N    its place in the queue, 1 for the first
  runs parallel [N]                     how many heavy runs go on at one time
  runs clone RUN --set lr=0.001 --target macs=0.3
  runs rollback RUN --to STEP --target macs=0.4
  runs log RUN                          the last lines of its worker
  runs export RUN --to csv:DIR          its numbers and events for another program; tensorboard:DIR, mlflow:URI or DIR

RUN is a run's id, or enough of it to be the only one; `runs export` takes the folder of `run --out`, too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpd.cli import options
from cpd.errors import RunError
from cpd.export.records import EXPORTERS, export_record
from cpd.prune.plan import Plan
from cpd.runs import control
from cpd.runs.launcher import read_log
from cpd.runs.policy import Policy, set_parallel
from cpd.runs.standing import standing
from cpd.runs.store import Run, Store
from cpd.runs.workspace import database, open_workspace, run_folder, workspace_root

HELP = "list, pause, resume, stop, move, clone and roll back the workspace's runs"

_EVENTS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home", metavar="DIR", type=Path, default=None, help="the workspace (default: CPD_HOME, else workspace/)"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    every = actions.add_parser("list", help="every run, the queue in its order")
    every.add_argument("--project", metavar="ID", default=None, help="of one project only")
    every.add_argument("--last", metavar="N", type=int, default=20, help="so many that are over (default 20)")
    every.add_argument("--json", action="store_true", help="as JSON, one object a line")
    for name, text in (
        ("show", "how a run stands, its checkpoints, its last events"),
        ("pause", "save a checkpoint at the next step and leave; the run keeps its place in the queue"),
        ("resume", "go on with a paused, stopped or failed run from its last checkpoint"),
        ("stop", "save a checkpoint at the next step and stop"),
        ("log", "the last lines that its worker wrote"),
    ):
        actions.add_parser(name, help=text).add_argument("run", metavar="RUN")
    move = actions.add_parser("move", help="give a waiting run another place in the queue")
    move.add_argument("run", metavar="RUN")
    move.add_argument("to", metavar="TO", help="first, last, up, down, or a number from 1")
    parallel = actions.add_parser("parallel", help="how many heavy runs go on at one time")
    parallel.add_argument("number", metavar="N", type=int, nargs="?", help="left out: say what holds now")
    clone = actions.add_parser("clone", help="a new run like another, with changes")
    rollback = actions.add_parser("rollback", help="a new run that goes on from a checkpoint of another")
    rollback.add_argument(
        "--to", metavar="STEP", type=int, default=None, help="left out: say which checkpoints there are"
    )
    for command in (clone, rollback):
        command.add_argument("run", metavar="RUN")
        goal = command.add_mutually_exclusive_group()
        goal.add_argument(
            "--plan", metavar="F", help="other ratios: a plan from `python -m cpd plan` or the Plan screen"
        )
        goal.add_argument("--target", metavar="T", help="macs=0.4, params=0.4, latency=0.5 or latency_ms=3")
        command.add_argument(
            "--set", metavar="NAME=VALUE", dest="changes", action="append", default=[], help="another setting; repeat"
        )
    clone.add_argument("--seed", type=int, default=None, help="another seed")
    export = actions.add_parser("export", help="write what a run recorded for another program")
    export.add_argument("run", metavar="RUN", help="a run, or the folder of one")
    forms = ", ".join(f"{entry.name}:{entry.place}" for entry in EXPORTERS.values())
    export.add_argument("--to", metavar="T", action="append", required=True, help=f"{forms}; repeat")


def run(arguments: argparse.Namespace) -> int:
    root = (arguments.home or workspace_root()).expanduser().resolve()
    return _ACTIONS[arguments.action](root, arguments)


def find(root: Path, text: str) -> Run:
    """The run whose id is `text`, or contains it as the only one.

    Raises:
        RunError: there is none, or there are several.
    """
    runs = _runs(root)
    found = [run for run in runs if run.id == text] or [run for run in runs if text in run.id]
    if len(found) != 1:
        several = ", ".join(run.id for run in found[:5])
        raise RunError(
            f"{text!r} stands for several runs: {several}."
            if found
            else f"no run is called {text!r}; `runs list` shows them."
        )
    return found[0]


def _list(root: Path, arguments: argparse.Namespace) -> int:
    runs = [run for run in _runs(root) if arguments.project in (None, run.project)]
    waiting = {run.id: number for number, run in enumerate(_queue(root), 1)}
    active = sorted(
        (run for run in runs if not run.is_over or run.id in waiting), key=lambda run: (run.id in waiting, run.place)
    )
    over = [run for run in runs if run.is_over and run.id not in waiting][: arguments.last]
    if arguments.json:
        for run in (*active, *over):
            row = {name: value for name, value in vars(run).items() if name != "spec"}
            print(json.dumps(row | {"project": run.project, "kind": run.kind, "says": standing(root, run).sentence}))
        return 0
    if not active and not over:
        print(f"no runs in {root}.")
    for run in (*active, *over):
        said = standing(root, run)
        place = f"{waiting[run.id]}." if run.id in waiting else ""
        print(f"{place:>3} {run.id:<32} {run.project:<20} {said.state:<11} {_far(run):<22} {said.sentence}")
    return 0


def _show(root: Path, arguments: argparse.Namespace) -> int:
    run = find(root, arguments.run)
    said = standing(root, run)
    print(f"{run.id}: {said.state}. {said.sentence}")
    print(
        f"project {run.project or '(none)'}, kind {run.kind}, model {run.spec.model or '(none)'}, {_far(run) or 'not begun'}"
    )
    _say_checkpoints(root, run)
    with _opened(root) as store:
        events = store.events(run.id)
    for event in events[-_EVENTS:]:
        print(f"  step {event.step:>7}  {event.kind:<7} {event.text}")
    return 0


def _log(root: Path, arguments: argparse.Namespace) -> int:
    print("\n".join(read_log(run_folder(root, find(root, arguments.run).id), 60)))
    return 0


def _steer(action: Callable[[Path, str], Run]) -> Callable[[Path, argparse.Namespace], int]:
    def do(root: Path, arguments: argparse.Namespace) -> int:
        run = action(root, find(root, arguments.run).id)
        said = standing(root, run)
        print(f"{run.id}: {said.state}. {said.sentence}")
        return 0

    return do


def _move(root: Path, arguments: argparse.Namespace) -> int:
    run = find(root, arguments.run)
    order = [row.id for row in _queue(root)]
    here = order.index(run.id) if run.id in order else 0
    places = {"first": 0, "last": len(order), "up": max(0, here - 1), "down": here + 1}
    if arguments.to not in places and not (arguments.to.isdigit() and int(arguments.to)):
        raise RunError(f"{arguments.to!r} is no place in the queue; give first, last, up, down, or a number from 1.")
    to = control.move(root, run.id, places[arguments.to] if arguments.to in places else int(arguments.to) - 1)
    print(f"{run.id}: number {to + 1} of {len(order)} in the queue.")
    return 0


def _parallel(root: Path, arguments: argparse.Namespace) -> int:
    open_workspace(root)
    policy = Policy.of(root) if arguments.number is None else set_parallel(root, arguments.number)
    runs = "heavy run goes" if policy.parallel == 1 else "heavy runs go"
    print(f"{policy.parallel} {runs} on at one time, and {policy.light} light one beside.")
    return 0


def _clone(root: Path, arguments: argparse.Namespace) -> int:
    run = find(root, arguments.run)
    print(control.clone(root, run.id, _changes(arguments), arguments.seed))
    return 0


def _rollback(root: Path, arguments: argparse.Namespace) -> int:
    run = find(root, arguments.run)
    if arguments.to is None:
        _say_checkpoints(root, run)
        return 0
    print(control.roll_back(root, run.id, arguments.to, _changes(arguments)))
    return 0


def _export(root: Path, arguments: argparse.Namespace) -> int:
    from cpd.runs.record import read_record, read_record_of

    folder = Path(arguments.run).expanduser()
    record = read_record_of(folder) if folder.is_dir() else read_record(root, find(root, arguments.run).id)
    for to in arguments.to:
        print(export_record(record, to))
    return 0


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    from cpd.distill.settings import TrainSettings

    known = TrainSettings().to_dict()
    changes: dict[str, Any] = {}
    for text in arguments.changes:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise RunError(f"--set {text}: give NAME=VALUE, where NAME is one of {', '.join(known)}.")
        changes[name] = _value(value)
    if arguments.target:
        changes["target"] = options.targets([arguments.target], run=True)
    if arguments.plan:
        changes["plan"] = json.loads(Plan.load(Path(arguments.plan)).to_json())
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # a word, such as adamw


def _say_checkpoints(root: Path, run: Run) -> None:
    for saved in control.checkpoints(root, run.id):
        note = saved.note
        metric = f", {note['name']} {note['metric']:.2%}" if note.get("metric") is not None else ""
        about = f"before a cut, at {note['macs']:.1%} of the MACs{metric}" if note else "one of the last two"
        print(f"  step {saved.step:>7}  checkpoint, {saved.bytes / 1e6:.1f} MB: {about}")


def _far(run: Run) -> str:
    if not run.total:
        return ""
    left = f", {_clock(run.pace_s * (run.total - run.step))} left" if run.state == "running" and run.pace_s else ""
    return f"step {run.step}/{run.total}{left}"


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86_400 else f"{seconds / 86_400:.1f} days"


def _runs(root: Path) -> list[Run]:
    with _opened(root) as store:
        return store.list_runs(most=10_000)


def _queue(root: Path) -> list[Run]:
    with _opened(root) as store:
        return store.queue()


class _opened:
    """The store of a workspace that exists."""

    def __init__(self, root: Path) -> None:
        if not database(root).exists():
            raise RunError(f"{root}: no run was ever started in this workspace.")
        self._store = Store(database(root))

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


_ACTIONS: dict[str, Callable[[Path, argparse.Namespace], int]] = {
    "list": _list, "show": _show, "log": _log, "move": _move, "parallel": _parallel, "clone": _clone, "rollback": _rollback, "export": _export,
    "pause": _steer(control.pause), "resume": _steer(control.resume), "stop": _steer(control.stop),
}  # fmt: skip
