"""Fifty people watch one live run: a real server, real websockets, Streamlit's own protocol, and a process that writes.

Every viewer is what a browser's tab is to the server: it opens the Run screen over /_stcore/stream, keeps the messages
that a browser keeps, and sends what a tab sends. A run of 2,000 steps grows by five a second, written to the run store as
a worker writes it, under the lock of a worker, so that the processor's time is the app's.

- *live*: every tab's panel draws itself again once a second, as the screen asks the browser to;
- *whole page*: every tab asks for the whole page once a second, as after a click;
- *first view*: a new tab, from its connection to its finished page, while the others watch;
- *soak*: reruns by the thousand, and what they leave in the server's memory;
- *restart*: the server is killed and started; every tab asks again until it is answered.

A rerun counts from when it was due, so that a server that falls behind cannot hide it. Processor time of the server is
given beside, which other work on the machine does not lengthen; load is what the machine did before this began. Bars:
95th percentile of both kinds of rerun under 1 s and of the first view under 2 s; memory grows by less than 20 %; after the
restart every tab is back within 10 s, and the run has not noticed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench
import numpy as np

sys.path += [str(bench.ROOT / "tests" / "app"), str(bench.ROOT / "tests" / "browser")]

RUN, GROUPS, STEPS, PACE_S = "distill-live", 40, 2_000, 0.2
RERUN_S, FIRST_S, GROWTH, BACK_S = 1.0, 2.0, 0.20, 10.0
PATIENCE_S = 60.0  # with one answer


# The run ---------------------------------------------------------------------------------------------------------------


def rows(step: int, dice: random.Random) -> list[tuple[int, str, float]]:
    """What a distilling worker records at one step."""
    found = [
        (step, name, dice.random() / (1 + step / 500))
        for name in ("train/loss", "train/loss/task", "train/loss/soft_logits")
    ]
    found += [(step, "train/lr", 1e-3), (step, "train/images_per_s", 900 + 50 * dice.random())]
    if step % 20 == 0:
        left = max(0.25, 1 - step / 4000)
        found += [
            (step, "val/top1", 0.9 + 0.05 * dice.random()),
            (step, "cost/macs", left),
            (step, "cost/params", left),
        ]
        found += [(step, f"latency/ms_b{batch}", left * batch * (1 + 0.05 * dice.random())) for batch in (1, 32)]
    if step % 10 == 0:
        found.append(
            (step, f"width/stage{step // 10 % GROUPS // 2}.conv{step // 10 % 2}", float(max(8, 64 - step // 100)))
        )
    return found


def prepare(home: Path) -> None:
    """A project, and a run that has come a long way."""
    import synthetic
    from conftest import MEASURED

    from cpd.runs.project import create_project, project_folder
    from cpd.runs.store import Store
    from cpd.runs.workspace import database, open_workspace

    made = create_project(open_workspace(home), "watched", "timm:chain", data="digits", settings={"num_classes": 10})
    folder = project_folder(home, made.id)
    synthetic.chain((64,) * GROUPS).save(folder)
    (folder / "baseline.json").write_text(json.dumps(MEASURED))
    store, dice = Store(database(home)), random.Random(0)
    store.add(RUN, made.spec("distill", options={"target": {"macs": 0.25}}))
    (home / "runs" / RUN).mkdir()
    store.launch(RUN)
    store.begin(RUN)
    for start in range(0, STEPS, 200):
        store.advance(
            RUN, [row for step in range(start, start + 200) for row in rows(step, dice)], (start + 200, 100_000)
        )
    for step in range(0, STEPS, 10):
        store.add_event(RUN, step, "cut", f"stage{step // 10 % GROUPS // 2}.conv{step // 10 % 2} loses 8 units", {})
    store.add_event(RUN, 0, "note", "a run that is watched", {})
    store.close()


def write(home: Path) -> None:
    """The other end of the store: a worker without its network, until it is ended."""
    from cpd.runs.lock import FileLock
    from cpd.runs.store import Store
    from cpd.runs.workspace import database

    assert FileLock(home / "runs" / RUN / "lock").acquire(), "another worker is at it"
    store, dice, step, due = Store(database(home)), random.Random(1), STEPS, time.monotonic()
    print("writing", flush=True)
    while True:
        store.advance(RUN, rows(step, dice), (step, 100_000), PACE_S)
        if step % 25 == 0:
            store.add_event(RUN, step, "cut", f"stage{step // 25 % GROUPS // 2}.conv0 loses 8 units", {})
        step += 1
        due += PACE_S
        time.sleep(max(0.0, due - time.monotonic()))


# A viewer --------------------------------------------------------------------------------------------------------------


@dataclass
class Tab:
    """One viewer's connection, and what a browser would know."""

    url: str
    socket: Any = None
    fragment: str = ""
    every_s: float = 0.0
    kept: set[str] = field(default_factory=set)
    received: int = 0
    errors: int = 0

    async def open(self) -> float:
        """Connect and draw the page; seconds until it was finished."""
        from websockets.asyncio.client import connect

        start = time.perf_counter()
        self.fragment = ""
        self.socket = await connect(
            self.url, subprotocols=["streamlit"], max_size=None, compression=None, ping_interval=None, open_timeout=30
        )
        await self.ask()
        return time.perf_counter() - start

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()

    async def ask(self, fragment: str = "") -> None:
        """Rerun the page, or one fragment of it, and wait until the server has finished it."""
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name = f"project=watched&run={RUN}", "run"
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment)
        state.cached_message_hashes.extend(self.kept)
        await self.socket.send(message.SerializeToString())
        fresh: set[str] = set()
        while True:
            data = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
            self.received += len(data)
            answer = ForwardMsg()
            answer.ParseFromString(data)
            kind = answer.WhichOneof("type")
            if kind == "auto_rerun":
                self.fragment, self.every_s = answer.auto_rerun.fragment_id, answer.auto_rerun.interval
            elif kind == "ref_hash":
                fresh.add(answer.ref_hash)
            elif kind == "delta":
                if answer.metadata.cacheable:
                    fresh.add(answer.hash)
                if answer.delta.new_element.WhichOneof("type") == "exception":
                    self.errors += 1
            elif kind == "script_finished" and answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                self.kept = fresh if not fragment else self.kept | fresh
                if len(self.kept) > 200:
                    self.kept = fresh
                return


async def watch(tab: Tab, until: float, whole: bool, waits: list[float]) -> None:
    """One rerun a second until then; a rerun that comes late counts from when it was due."""
    due = time.perf_counter() + random.random()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await tab.ask("" if whole else tab.fragment)
        waits.append(time.perf_counter() - due)
        due = max(due + 1.0, time.perf_counter())  # a tab asks again only once it has been answered


async def reopen(tab: Tab, since: float) -> float:
    """Knock until the server answers; seconds since it was killed."""
    while True:
        try:
            await tab.open()
            return time.perf_counter() - since
        except OSError:
            await asyncio.sleep(0.25)
        except Exception as error:  # the connection broke in the middle: knock again, as a browser does
            if time.perf_counter() - since > 60:
                raise AssertionError(f"the server does not come back: {error!r}") from error
            await asyncio.sleep(0.25)


# The measurement -------------------------------------------------------------------------------------------------------


def memory_mib(process: int) -> float:
    import psutil

    return float(psutil.Process(process).memory_info().rss) / 2**20


def cpu_s(process: int) -> float:
    import psutil

    used = psutil.Process(process).cpu_times()
    return float(used.user + used.system)


async def measure(server: Any, viewers: int, seconds: float, reruns: int) -> dict[str, Any]:
    tabs = [Tab(server.url.replace("http", "ws") + "/_stcore/stream") for _ in range(viewers)]
    result: dict[str, Any] = {"viewers": viewers}
    first: list[float] = [await tabs[0].open()]  # fills what all share; counted like every other
    watching: list[asyncio.Task[None]] = []
    begun: list[float] = []
    far = time.perf_counter() + 3600
    for tab in tabs[1:]:
        first.append(await tab.open())
        watching.append(asyncio.create_task(watch(tab, far, False, begun)))
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    for tab in tabs:  # what was cancelled in the middle of an answer starts anew
        await tab.close()
    await asyncio.gather(*(tab.open() for tab in tabs))
    assert all(tab.fragment for tab in tabs), "the page of a live run does not draw itself again"
    result["first"] = first
    for name, whole in (("live", False), ("whole page", True)):
        waits: list[float] = []
        before, start, sent = cpu_s(server.process.pid), time.perf_counter(), sum(tab.received for tab in tabs)
        until = start + seconds
        await asyncio.gather(*(watch(tab, until, whole, waits) for tab in tabs))
        took = time.perf_counter() - start
        used = cpu_s(server.process.pid) - before
        result[name] = {"waits": waits, "cpu_ms": 1000 * used / len(waits), "cores": used / took, "a_second": len(waits) / took,
                        "kb": (sum(tab.received for tab in tabs) - sent) / len(waits) / 1000}  # fmt: skip
    done, settled = sum(len(result[name]["waits"]) for name in ("live", "whole page")), memory_mib(server.process.pid)
    soak: list[float] = []
    start = time.perf_counter()
    while len(soak) < reruns:
        await asyncio.gather(*(tab.ask(tab.fragment if number % 4 else "") for number, tab in enumerate(tabs)))
        soak += [0.0] * len(tabs)
    grown = memory_mib(server.process.pid)
    result["soak"] = {
        "reruns": len(soak),
        "before": done,
        "mib": [settled, grown],
        "growth": grown / settled - 1,
        "seconds": time.perf_counter() - start,
    }
    return result | {"tabs": tabs}


async def restart(server: Any, tabs: list[Tab]) -> list[float]:
    """Kill the server under load; seconds until each tab shows its page again."""
    loads = [asyncio.create_task(watch(tab, time.perf_counter() + 3600, False, [])) for tab in tabs]
    await asyncio.sleep(2.0)
    server.kill()
    since = time.perf_counter()
    for task in loads:
        task.cancel()
    await asyncio.gather(*loads, return_exceptions=True)
    starting = asyncio.get_running_loop().run_in_executor(None, server.start)
    back = await asyncio.gather(*(reopen(tab, since) for tab in tabs))
    await starting
    return list(back)


def main() -> int:
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]))
    parser = bench.options(__doc__)
    parser.add_argument("--viewers", type=int, default=50)
    arguments = parser.parse_args()
    from real_app import Server

    from cpd.runs.store import Store
    from cpd.runs.workspace import database

    load = os.getloadavg()[0]
    seconds, reruns = (12.0, 600) if arguments.quick else (60.0, 10_000)
    with tempfile.TemporaryDirectory(prefix="cpd-viewers-") as folder:
        home = Path(folder) / "home"
        prepare(home)
        writer = subprocess.Popen([sys.executable, __file__, "--write", str(home)], stdout=subprocess.PIPE, text=True)
        server = None
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            server = Server(home)
            store = Store(database(home))

            async def everything() -> tuple[dict[str, Any], list[float]]:
                found = await measure(server, arguments.viewers, seconds, reruns)
                return found, await restart(server, found["tabs"])

            before = store.run(RUN)
            result, back = asyncio.run(everything())
            time.sleep(1.0)
            after = store.run(RUN)
            untouched = (after.state, after.attempts, after.launched) == (
                before.state,
                before.attempts,
                before.launched,
            ) and after.step > before.step
            untouched = untouched and writer.poll() is None
            store.close()
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            if server is not None:
                server.end()
    tabs = result.pop("tabs")
    errors = sum(tab.errors for tab in tabs)
    lines, p95 = [], {}
    for name in ("live", "whole page"):
        row = result[name]
        p95[name] = float(np.percentile(row["waits"], 95))
        lines.append([name, len(row["waits"]), *(f"{1000 * np.percentile(row['waits'], q):.0f}" for q in (50, 95, 100)),
                      f"{row['cpu_ms']:.1f}", f"{row['cores']:.2f}", f"{row['kb']:.0f}", f"{row['a_second']:.0f}"])  # fmt: skip
    for name, values in (("first view", result["first"]), ("back after the restart", back)):
        lines.append([name, len(values), *(f"{1000 * np.percentile(values, q):.0f}" for q in (50, 95, 100)), *[""] * 4])
    bench.table(
        ["what", "times", "median ms", "p95 ms", "worst ms", "server CPU ms each", "cores", "kB each", "a second"],
        lines,
    )
    soak, first = result["soak"], float(np.percentile(result["first"], 95))
    holds = (
        max(p95.values()) < RERUN_S
        and first < FIRST_S
        and soak["growth"] < GROWTH
        and max(back) < BACK_S
        and untouched
        and not errors
    )
    figure = (
        f"{arguments.viewers} viewers, load {load:.1f} before: a live rerun takes {p95['live']:.2f} s and a whole page {p95['whole page']:.2f} s (p95, bar {RERUN_S:g}), a first view "
        f"{first:.2f} s (bar {FIRST_S:g}); {soak['reruns']:,} more reruns take memory from {soak['mib'][0]:.0f} to {soak['mib'][1]:.0f} MiB ({100 * soak['growth']:+.0f} %, bar "
        f"{100 * GROWTH:.0f}); after a kill every tab is back in {max(back):.1f} s (bar {BACK_S:g}), the run {'untouched' if untouched else 'TOUCHED'}, {errors} errors on screen."
    )
    return bench.end(arguments, result | {"back": back, "p95": p95, "load": load}, figure, holds)


if __name__ == "__main__":
    sys.exit(main())
