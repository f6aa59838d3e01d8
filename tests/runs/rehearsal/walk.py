"""A run that tests can judge: a seeded random walk whose end depends on every step, with a checkpoint every few steps.

Options: steps, every (steps between checkpoints), sleep_s, linger (ignores the request to stop), fail (name of what
goes wrong at half time).
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

from cpd.errors import DataError, Diverged
from cpd.files import write_json
from cpd.runs.context import RunContext


def run(context: RunContext) -> None:
    options = {"steps": 60, "every": 5, "sleep_s": 0.004, "linger": False, "fail": ""} | dict(context.spec.options)
    dice = random.Random(context.spec.seed)
    step, place, chain = 0, 0.0, ""
    state = context.load()
    if state is not None:
        step, place, chain = state["step"], state["place"], state["chain"]
        dice.setstate(state["dice"])
    while step < options["steps"]:
        if context.should_stop() and not options["linger"]:
            context.save({"step": step, "place": place, "chain": chain, "dice": dice.getstate()}, step)
            return
        step += 1
        place += dice.gauss(0, 1)
        chain = hashlib.sha256(f"{chain}{place!r}".encode()).hexdigest()
        context.log(step, {"train/loss": place, "train/pid": 1.0})
        context.progress(step, options["steps"])
        if step % 20 == 0:
            context.event(step, "cut", f"cut at {step}", width=step)
        if step == options["steps"] // 2:
            fail(options["fail"], context)
        if step % options["every"] == 0:
            context.save({"step": step, "place": place, "chain": chain, "dice": dice.getstate()}, step)
        time.sleep(options["sleep_s"])
    write_json(context.run_dir / "result.json", {"place": place, "chain": chain})


def fail(how: str, context: RunContext) -> None:
    """What a real run meets."""
    if how == "data":
        raise DataError("digits: the data set is not there; install scikit-learn.")
    if how == "once" and not (context.run_dir / "failed").exists():
        (context.run_dir / "failed").touch()
        raise DataError("digits: the data set is not there; install scikit-learn.")
    if how == "bug":
        raise ZeroDivisionError("division by zero")
    if how == "memory":
        raise MemoryError
    if how == "hungry":
        allocate(200_000_000 // int(context.spec.options.get("accumulate", 1)))
    if how == "ravenous":
        allocate(200_000_000)
    if how == "nan":
        raise Diverged("The loss is no longer finite at step 30; lower lr (now 0.1).")
    if how == "fill" and not (context.run_dir / "filled").exists():
        with open(context.run_dir / "big", "wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65_536)
    if how == "disk":
        with open(context.run_dir / "big", "wb") as file:
            file.write(b"\0" * 100_000_000)
    if how == "die":
        os._exit(13)


def allocate(size: int) -> None:
    """Ask for `size` bytes where three quarters of 200 MB are left: really refused, or really given."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000, limits[1]))
    try:
        bytearray(size)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
