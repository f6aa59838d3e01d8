"""SIGKILL at random moments, and while checkpoints are written: nothing may be lost, doubled or torn.

First part: short real runs (a small network pruned while it is distilled on the built-in digits, half of them with a
corridor, so that cuts are undone too) go through the queue of a workspace, while their workers, their supervisor and the
app are killed, and nothing else helps them than what helps a user: the app, and whoever looks next. Every run is dealt
its kills beforehand, at moments of its own: at a random step, the end of it among them, or after a random part of the
time that a worker lives, its start included; so a slow machine makes the campaign longer and no easier. Every run must
end with the metrics and, bit for bit, the weights of one that nobody disturbed.

Second part: a process that does nothing but write checkpoints is killed again and again; what it said it had written
must be there, whole.

Bars: 0 lost and 0 duplicated steps, all weights bit-equal, 0 unreadable checkpoints. The whole campaign is 500 kills over
100 runs and 200 aimed ones, in ten pieces, each in a workspace of its own; with `--ledger F` every piece that is done is
written down, and the same command goes on with the next one; `--minutes` ends a piece early: runs that have not begun
leave the queue and do not count, those that have go on to their end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench

STEPS = 60
OPTIONS = {"steps": STEPS, "batch_size": 16, "checkpoint_s": 0.0, "score_batches": 2, "chunks": 4, "evaluate_every": 20, "average": 0.9,
           "batches": [1], "certify": False, "target": {"macs": 0.3}, "plan": None, "corridor_images": 64}  # fmt: skip
OF_THE_CLOCK = ("latency/", "train/images_per_s")
VICTIMS = {"worker": 6, "supervisor": 3, "app": 1}  # and how often each is hit
BY_STEP = 0.6  # of the kills; the others come by the clock
MOMENTS = ("as it starts", "between steps", "at its end")
PIECE = 10  # runs

Say = Callable[[str], None]
Metrics = dict[tuple[str, int], float]
Told = Counter[tuple[int, str, str]]
Left = tuple[bytes, Metrics, Told]  # what a run leaves: the file handed over, its metrics, its events


@dataclass
class Tally:
    """What a piece of the campaign found."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)  # by victim
    moments: Counter[str] = field(default_factory=Counter)  # where the worker of the run was then
    restarts: int = 0  # of a run, from a checkpoint
    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    failed: list[str] = field(default_factory=list)  # runs that did not end, or not the same
    aimed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    load: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        load = max(self.load, other.load)
        rest = {name: getattr(self, name) + getattr(other, name) for name in vars(self) if name != "load"}
        return Tally(**rest, load=load)

    def to_dict(self) -> dict[str, Any]:
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @staticmethod
    def of(row: Mapping[str, Any]) -> Tally:
        return Tally(**{name: Counter(value) if isinstance(value, dict) else value for name, value in row.items()})


@dataclass(frozen=True)
class Blow:
    """One kill that a run is dealt: at a step, or this share of a worker's life after it began."""

    victim: str
    step: int = -1
    share: float = 0.0


def spec(seed: int) -> Any:
    from cpd.runs.spec import RunSpec

    options = {**OPTIONS, "corridor": 0.02 if seed % 2 else 0.0}
    model = f"{bench.ROOT}/tests/tiny.py:Net"
    return RunSpec("distill", model=model, data="digits", settings={"img_size": 32}, seed=seed, options=options)


def recorded(store: Any, run: str) -> Metrics:
    """Every metric of every step that does not depend on the clock."""
    series = store.metrics(run, most=10**6)
    return {
        (name, step): value
        for name, row in series.items() if not name.startswith(OF_THE_CLOCK)
        for step, value in zip(row.steps, row.values, strict=True)
    }  # fmt: skip


def told(store: Any, run: str) -> Told:
    return Counter((e.step, e.kind, e.text) for e in store.events(run, kinds=["cut", "undo", "eval"]))


def calm(folder: Path, seed: int) -> Left:
    """What the run leaves that nobody disturbs."""
    from cpd.runs.store import Store
    from cpd.runs.worker import run_foreground
    from cpd.runs.workspace import ALONE

    place = folder / f"calm-{seed}"
    row = run_foreground(place, spec(seed))
    assert row.state == "finished", row.error
    store = Store(place / "runs.db")
    found = (place / "bundle" / "model.safetensors").read_bytes(), recorded(store, ALONE), told(store, ALONE)
    store.close()
    return found


class App:
    """The real app on the workspace; it is started again as soon as it was killed, as its user would."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.home = home
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with open(self.home.parent / "app.log", "a") as log:
            command = [sys.executable, "-m", "app.serve", "--port", str(self.port)]
            return subprocess.Popen(command, cwd=bench.ROOT, stdout=log, stderr=log)

    def kill(self) -> bool:
        self.process.kill()
        self.process.wait()
        return True


def differing(truth: bytes, found: bytes) -> str:
    """In what a handed over file says other than the true one: weights, to the last bit, or their description; "" where it
    does not. The order of a safetensors file's header is left to chance by its writer, so files are not compared whole."""
    from safetensors.torch import load

    old, new = load(truth), load(found)
    names = [name for name in {**old, **new} if name not in old or name not in new or not old[name].equal(new[name])]
    if names:
        return f"other weights in {', '.join(names)}"
    heads = [json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"] for data in (truth, found)]
    return "" if heads[0] == heads[1] else "the same weights, but another description of them"


def kill(lock: Path) -> bool:
    """SIGKILL to whoever holds the lock; whether there was somebody."""
    from cpd.runs.lock import holder

    pid = holder(lock)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def deal(dice: random.Random, runs: Sequence[str], kills: int) -> dict[str, list[Blow]]:
    """So many kills, each to a run by chance and at a moment by chance; those at a step in the order of their steps."""
    hands: dict[str, list[Blow]] = {run: [] for run in runs}
    for _ in range(kills):
        victim = dice.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        by_step = dice.random() < BY_STEP
        blow = Blow(victim, step=dice.randint(1, STEPS)) if by_step else Blow(victim, share=dice.random())
        hands[dice.choice(runs)].append(blow)
    for hand in hands.values():
        steps = iter(sorted(blow.step for blow in hand if blow.step >= 0))
        hand[:] = [blow if blow.step < 0 else Blow(blow.victim, next(steps)) for blow in hand]
    return hands


class Chase:
    """Deals a run its blows, one after the other, each when its moment has come."""

    def __init__(self, blows: list[Blow], lock: Path, life_s: float) -> None:
        self.blows, self.lock, self.life_s = blows, lock, life_s
        self._worker: int | None = None
        self._since, self._from = 0.0, -1

    def due(self, row: Any) -> Blow | None:
        """The blow whose moment is now, where the run is at work."""
        from cpd.runs.lock import holder

        pid = holder(self.lock)
        if not self.blows or pid is None or row.state != "running":
            return None
        if pid != self._worker:
            self._worker, self._since, self._from = pid, time.monotonic(), row.step
        blow = self.blows[0]
        if blow.step >= 0:  # a worker that has got further than the last one, but for the very end
            come = row.step >= blow.step and (row.step > self._from or row.step >= STEPS)
        else:
            come = time.monotonic() - self._since >= blow.share * self.life_s
        return self.blows.pop(0) if come else None

    def moment(self, row: Any) -> str:
        return MOMENTS[2] if row.step >= STEPS else MOMENTS[1] if row.step > self._from else MOMENTS[0]


def hand_on(dice: random.Random, chases: Mapping[str, Chase], at_large: Sequence[str]) -> None:
    """What a run that has ended was still to get, others get, at other moments."""
    for run in sorted(set(chases) - set(at_large)) if at_large else ():
        for blow in chases[run].blows:
            chases[dice.choice(at_large)].blows.append(Blow(blow.victim, share=dice.random()))
        chases[run].blows.clear()


def leave(root: Path, store: Any, names: dict[str, int], chases: Mapping[str, Chase]) -> None:
    """No more kills, and no more runs than those that have begun."""
    from cpd.runs import control

    for chase in chases.values():
        chase.blows.clear()
    for run in list(names):
        if not store.run(run).launched:
            control.stop(root, run)
            del names[run]


def campaign(
    folder: Path, kills: int, runs: int, seeds: int, seed: int, parallel: int, until: float, say: Say
) -> Tally:
    """`kills` kills over `runs` runs; when the kills are done, the runs are left to end."""
    from cpd.runs import control
    from cpd.runs.lock import is_held
    from cpd.runs.store import Store
    from cpd.runs.supervisor import ensure
    from cpd.runs.workspace import open_workspace, run_folder

    truth = {number: calm(folder, number) for number in range(seeds)}
    started = time.monotonic()
    code = f"import sys; sys.path.insert(0, {str(bench.ROOT)!r}); import cpd.distill.trainer"
    subprocess.run([sys.executable, "-c", code], check=True)
    life_s = 1.5 * (time.monotonic() - started)  # starting is two thirds of it
    os.environ["CPD_HOME"] = str(folder / "home")
    root = open_workspace()
    rules = {"parallel": parallel, "backoff_s": 0.0, "poll_s": 0.1, "max_attempts": 1_000_000}
    (root / "policy.json").write_text(json.dumps(rules))
    dice, tally, store, app = random.Random(seed), Tally(), Store(root / "runs.db"), App(root)
    names = {control.submit(root, spec(number % seeds)): number % seeds for number in range(runs)}
    hands = deal(dice, list(names), kills)
    chases = {run: Chase(blows, run_folder(root, run) / "lock", life_s) for run, blows in hands.items()}
    start = spoken = time.monotonic()
    looked, at_large = 0.0, list(names)
    try:
        while at_large:
            time.sleep(0.02)
            now = time.monotonic()
            if now > until:
                until = float("inf")
                leave(root, store, names, chases)
            if now - looked > 0.5:
                looked = now
                ensure(root)  # what any page of the app does
                at_large = [run.id for run in store.unfinished()]
                hand_on(dice, chases, at_large)
            if now - spoken > 30:
                spoken = now
                say(f"{tally.kills.total()} of {kills} kills, {len(names) - len(at_large)} of {len(names)} runs over")
            for row in (store.run(run) for run in at_large if is_held(chases[run].lock)):
                blow = chases[row.id].due(row)
                if blow is None:
                    continue
                time.sleep(dice.uniform(0, 0.05) if row.step < STEPS else dice.uniform(0, 1.0))  # anywhere in a step
                locks = {"supervisor": root / "supervisor.lock", "worker": chases[row.id].lock}
                hit = app.kill() if blow.victim == "app" else kill(locks[blow.victim])
                tally.kills[blow.victim] += hit
                tally.moments[chases[row.id].moment(row)] += hit
                if blow.victim == "app":
                    app.process = app.start()
                if not hit:  # nobody was there; another moment will do as well
                    chases[row.id].blows.append(Blow(blow.victim, share=dice.random()))
    finally:
        app.kill()
        for lock in (root / "supervisor.lock", *root.glob("runs/*/lock")):
            kill(lock)
    say(f"all {len(names)} runs are over after {time.monotonic() - start:.0f} s")
    tally.runs = len(names)
    for run, number in names.items():
        compare(store, run, run_folder(root, run), truth[number], tally)
    store.close()
    return tally


def compare(store: Any, run: str, folder: Path, truth: Left, tally: Tally) -> None:
    """Add to the tally what the run says other than one that nobody disturbed."""
    row = store.run(run)
    weights, metrics, events = truth
    if row.state != "finished":
        tally.failed.append(f"{run}: {row.state}, {row.error}")
        return
    mine, said = recorded(store, run), told(store, run)
    tally.lost += sum(key not in mine or mine[key] != value for key, value in metrics.items()) + (events - said).total()
    tally.doubled += sum(key not in metrics for key in mine) + (said - events).total()
    difference = differing(weights, (folder / "bundle" / "model.safetensors").read_bytes())
    if difference:
        tally.unequal += 1
        tally.failed.append(f"{run}: {difference}")
    tally.restarts += len(store.events(run, kinds=["resume"]))


def aimed(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Kills of a process that writes one checkpoint after the other; the next goes on from what the last one left."""
    import torch

    from cpd.runs.checkpoint import load_checkpoint, save_checkpoint

    dice = random.Random(seed)
    found = Counter({"kills": 0, "inside a write": 0, "unreadable": 0, "lost": 0})
    step, sizes = 0, [(64, 64)] * 20 + [(700, 700)]
    while found["kills"] < kills:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            while True:
                step += 1
                state = {"step": step, "tensors": [torch.full(size, float(step)) for size in sizes]}
                os.write(writer, b"<")
                save_checkpoint(folder, state, step, {"step": step} if step % 5 == 0 else None)
                os.write(writer, b">")
        os.close(writer)
        os.read(reader, 1)  # it has begun to write
        time.sleep(dice.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            marks = b"<" + pipe.read()
        found["kills"] += 1
        found["inside a write"] += marks.endswith(b"<")
        done = step + marks.count(b">")
        restored = load_checkpoint(folder)
        if restored is None or restored.skipped:
            found["unreadable"] += restored is not None or done > 0
            step = restored.step if restored else 0
            continue
        whole = (
            all(bool((t == restored.step).all()) for t in restored.state["tensors"])
            and restored.state["step"] == restored.step
        )
        found["unreadable"] += not whole
        found["lost"] += restored.step < done
        step = restored.step
    return found


def piece(number: int, runs: int, kills: int, torn: int, parallel: int, until: float, say: Say) -> Tally:
    """One piece of the campaign, from nothing to its tally."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        found = aimed(Path(place) / "checkpoints", torn, number + 1) if torn else Counter[str]()
        say(f"{torn} aimed kills are done")
        tally = campaign(Path(place), kills, runs, 1 if runs < 4 else 4, number, parallel, until, say)
    tally.aimed, tally.seconds, tally.load = found, time.monotonic() - start, round(os.getloadavg()[0], 1)
    return tally


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--kills", type=int, default=-1, help="at random moments (default 500, quick 6)")
    parser.add_argument("--runs", type=int, default=0, help="runs that they hit (default 100, quick 2)")
    parser.add_argument("--aimed", type=int, default=-1, help="at the writing of checkpoints (default 200, quick 60)")
    parser.add_argument("--parallel", type=int, default=2, help="runs at one time (default 2)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--ledger", type=Path, metavar="F", help="pieces that are done; the same command goes on")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or 1
    os.environ |= {"OMP_NUM_THREADS": str(arguments.threads), "MKL_NUM_THREADS": str(arguments.threads)}
    bench.begin(arguments)
    kills = arguments.kills if arguments.kills >= 0 else (6 if arguments.quick else 500)
    runs = arguments.runs or (2 if arguments.quick else 100)
    torn = arguments.aimed if arguments.aimed >= 0 else (60 if arguments.quick else 200)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - start:5.0f} s  {text}", file=sys.stderr, flush=True)

    ledger = arguments.ledger
    pieces = [Tally.of(row) for row in json.loads(ledger.read_text())] if ledger and ledger.exists() else []
    total = sum(pieces, Tally())
    until = start + 60 * arguments.minutes
    while total.runs < runs and time.monotonic() < until:
        left = runs - total.runs
        share = min(PIECE, left) / left
        some = round((kills - total.kills.total()) * share), round((torn - total.aimed["kills"]) * share)
        say(f"piece {len(pieces) + 1}: {min(PIECE, left)} runs, {some[0]} kills, {some[1]} aimed")
        pieces.append(piece(len(pieces), min(PIECE, left), *some, arguments.parallel, until, say))
        total = sum(pieces, Tally())
        if ledger:
            ledger.write_text(json.dumps([row.to_dict() for row in pieces], indent=1))
    return report(arguments, total)


def report(arguments: Any, total: Tally) -> int:
    runs, kills = total.runs, total.kills.total()
    cells = {"runs": runs, "kills": kills} | {f"of the {name}": total.kills[name] for name in VICTIMS}
    cells |= {name: total.moments[name] for name in MOMENTS} | {"resumed": total.restarts, "steps lost": total.lost}
    cells |= {
        "doubled": total.doubled,
        "weights not equal": total.unequal,
        "not finished": len(total.failed) - total.unequal,
    }
    bench.table([*cells, "s"], [[*cells.values(), f"{total.seconds:.0f}"]])
    names = ("kills", "inside a write", "unreadable", "lost")
    bench.table(("kills at checkpoints", *names[1:]), [[total.aimed[name] for name in names]])
    for text in total.failed:
        print(text)
    torn = total.aimed["unreadable"] + total.aimed["lost"]
    holds = not (total.lost or total.doubled or total.failed or torn)
    figure = (
        f"{kills} kills over {runs} runs: {total.lost} values lost, {total.doubled} doubled, {runs - len(total.failed)} of {runs} "
        f"end with the same weights to the last bit; {total.aimed['kills']} kills at checkpoints: {total.aimed['unreadable']} unreadable."
    )
    return bench.end(arguments, {"tally": total.to_dict()}, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
