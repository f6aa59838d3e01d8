"""SIGKILL at random moments, and while checkpoints are written: nothing may be lost, doubled or torn.

First part: short real runs (a small network pruned while it is distilled on the built-in digits, half of them with a
corridor, so that cuts are undone too) go through the queue of a workspace, while their workers, their supervisor and the
app are killed at random moments, and nothing else helps them than what helps a user: the app, and whoever looks next.
Every run must end with the metrics and, bit for bit, the weights of one that nobody disturbed.

Second part: a process that does nothing but write checkpoints is killed again and again; what it said it had written
must be there, whole.

Bars: 0 lost and 0 duplicated steps, all weights bit-equal, 0 unreadable checkpoints. The whole campaign is 500 kills over
100 runs and 200 aimed ones, and takes an hour and a half on two cores.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench

NETWORK = '''
import torch
from torch import nn

class Net(nn.Sequential):
    """A convolutional network for the digits that trains in seconds."""
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, 10))

example_inputs = (torch.zeros(2, 3, 32, 32),)
'''
STEPS = 60
OPTIONS = {"steps": STEPS, "batch_size": 16, "checkpoint_s": 0.0, "score_batches": 2, "chunks": 4, "evaluate_every": 20, "average": 0.9,
           "batches": [1], "certify": False, "target": {"macs": 0.3}, "plan": None, "corridor_images": 64}  # fmt: skip
OF_THE_CLOCK = ("latency/", "train/images_per_s")


@dataclass
class Tally:
    """What the campaign found."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    failed: list[str] = field(default_factory=list)  # runs that did not end, or not the same
    restarts: int = 0


def spec(folder: Path, seed: int) -> Any:
    from cpd.runs.spec import RunSpec

    options = {**OPTIONS, "corridor": 0.02 if seed % 2 else 0.0}
    return RunSpec("distill", model=f"{folder}/net.py:Net", data="digits", settings={"img_size": 32}, seed=seed, options=options)


def recorded(store: Any, run: str) -> dict[tuple[str, int], float]:
    """Every metric of every step that does not depend on the clock."""
    series = store.metrics(run, most=10**6)
    return {
        (name, step): value
        for name, row in series.items() if not name.startswith(OF_THE_CLOCK)
        for step, value in zip(row.steps, row.values, strict=True)
    }  # fmt: skip


def told(store: Any, run: str) -> Counter[tuple[int, str, str]]:
    return Counter((e.step, e.kind, e.text) for e in store.events(run, kinds=["cut", "undo", "eval"]))


def calm(folder: Path, seed: int) -> tuple[bytes, dict[tuple[str, int], float], Counter[tuple[int, str, str]]]:
    """What the run leaves that nobody disturbs."""
    from cpd.runs.store import Store
    from cpd.runs.worker import run_foreground
    from cpd.runs.workspace import ALONE

    place = folder / f"calm-{seed}"
    row = run_foreground(place, spec(folder, seed))
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
        self.home, self.process = home, None
        self.start()

    def start(self) -> None:
        with open(self.home.parent / "app.log", "a") as log:
            command = [sys.executable, "-m", "app.serve", "--port", str(self.port)]
            self.process = subprocess.Popen(command, cwd=bench.ROOT, stdout=log, stderr=log)

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


def at_work(run: Any, step: int) -> bool:
    return run.state == "running" and run.total > run.step >= step


def campaign(folder: Path, kills: int, runs: int, seeds: int, say: Any) -> Tally:
    """`kills` kills over `runs` runs; when the kills are done, the runs are left to end."""
    from cpd.runs import control
    from cpd.runs.lock import is_held
    from cpd.runs.store import Store
    from cpd.runs.supervisor import ensure
    from cpd.runs.workspace import open_workspace, run_folder

    (folder / "net.py").write_text(NETWORK)
    truth = {seed: calm(folder, seed) for seed in range(seeds)}
    say(f"{seeds} runs that nobody disturbs are done")
    os.environ["CPD_HOME"] = str(folder / "home")
    root = open_workspace()
    (root / "policy.json").write_text(json.dumps({"parallel": 2, "backoff_s": 0.0, "poll_s": 0.1, "max_attempts": 1_000_000}))
    dice, tally, store, app = random.Random(0), Tally(), Store(root / "runs.db"), App(root)
    names = {control.submit(root, spec(folder, seed % seeds)): seed % seeds for seed in range(runs)}
    start, spoken = time.monotonic(), 0.0
    try:
        while not all(store.run(run).is_over for run in names):
            time.sleep(dice.uniform(0.1, 6.0))
            ensure(root)  # what any page of the app does
            if time.monotonic() - spoken > 30:
                spoken = time.monotonic()
                say(f"{sum(tally.kills.values())} kills, {sum(store.run(run).is_over for run in names)} of {runs} runs over")
            if sum(tally.kills.values()) >= kills:
                continue
            alive = [run_folder(root, run) / "lock" for run in names if is_held(run_folder(root, run) / "lock")]
            what = dice.choices(("worker", "supervisor", "app"), (7, 2, 1))[0]
            if what == "worker" and dice.random() < 0.6:  # by the step and not by the clock: most of the time goes into starting
                mark, patience = dice.randrange(STEPS), time.monotonic() + 15
                while time.monotonic() < patience and not (alive := [run_folder(root, r) / "lock" for r in names if at_work(store.run(r), mark)]):
                    time.sleep(0.01)
            if what == "worker" and alive:
                tally.kills[what] += kill(dice.choice(alive))
            elif what == "supervisor":
                tally.kills[what] += kill(root / "supervisor.lock")
            elif what == "app":
                tally.kills[what] += app.kill()
                app.start()
    finally:
        app.kill()
        for lock in (root / "supervisor.lock", *root.glob("runs/*/lock")):
            kill(lock)
    say(f"all runs are over after {time.monotonic() - start:.0f} s")
    for run, seed in names.items():
        row = store.run(run)
        weights, metrics, events = truth[seed]
        if row.state != "finished":
            tally.failed.append(f"{run}: {row.state}, {row.error}")
            continue
        mine, said = recorded(store, run), told(store, run)
        tally.lost += sum(key not in mine or mine[key] != value for key, value in metrics.items()) + sum((events - said).values())
        tally.doubled += sum(key not in metrics for key in mine) + sum((said - events).values())
        difference = differing(weights, (run_folder(root, run) / "bundle" / "model.safetensors").read_bytes())
        if difference:
            tally.unequal += 1
            tally.failed.append(f"{run}: {difference}")
        tally.restarts += len(store.events(run, kinds=["resume"]))
    store.close()
    return tally


def aimed(folder: Path, kills: int) -> dict[str, int]:
    """Kills of a process that writes one checkpoint after the other; the next goes on from what the last one left."""
    import torch

    from cpd.runs.checkpoint import load_checkpoint, save_checkpoint

    dice = random.Random(1)
    found = {"kills": 0, "inside a write": 0, "unreadable": 0, "lost": 0}
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
        whole = all(bool((t == restored.step).all()) for t in restored.state["tensors"]) and restored.state["step"] == restored.step
        found["unreadable"] += not whole
        found["lost"] += restored.step < done
        step = restored.step
    return found


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--kills", type=int, default=0, help="at random moments (default 500, quick 6)")
    parser.add_argument("--runs", type=int, default=0, help="runs that they hit (default 100, quick 2)")
    parser.add_argument("--aimed", type=int, default=-1, help="at the writing of checkpoints (default 200, quick 60)")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or 1
    os.environ |= {"OMP_NUM_THREADS": str(arguments.threads), "MKL_NUM_THREADS": str(arguments.threads)}
    bench.begin(arguments)
    kills = arguments.kills or (6 if arguments.quick else 500)
    runs = arguments.runs or (2 if arguments.quick else 100)
    most = arguments.aimed if arguments.aimed >= 0 else (60 if arguments.quick else 200)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - start:5.0f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as place:
        torn = aimed(Path(place) / "checkpoints", most) if most else {"kills": 0, "inside a write": 0, "unreadable": 0, "lost": 0}
        say(f"{torn['kills']} aimed kills are done")
        tally = campaign(Path(place), kills, runs, 1 if runs < 4 else 4, say)
    seconds = time.monotonic() - start
    total = sum(tally.kills.values())
    head = ("runs", "kills", "of workers", "of supervisors", "of the app", "resumed", "steps lost", "doubled", "weights not equal", "not finished", "s")
    row = (runs, total, *(tally.kills[k] for k in ("worker", "supervisor", "app")), tally.restarts, tally.lost, tally.doubled, tally.unequal,
           len(tally.failed) - tally.unequal, f"{seconds:.0f}")  # fmt: skip
    bench.table(head, [row])
    bench.table(("kills at checkpoints", "inside a write", "unreadable", "lost"), [tuple(torn.values())])
    for text in tally.failed:
        print(text)
    holds = not (tally.lost or tally.doubled or tally.unequal or tally.failed or torn["unreadable"] or torn["lost"])
    figure = (
        f"{total} kills over {runs} runs: {tally.lost} values lost, {tally.doubled} doubled, {runs - len(tally.failed)} of {runs} "
        f"end with the same weights to the last bit; {torn['kills']} kills at checkpoints: {torn['unreadable']} unreadable."
    )
    result = {"tally": vars(tally), "aimed": torn, "seconds": seconds, "runs": runs}
    return bench.end(arguments, result, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
