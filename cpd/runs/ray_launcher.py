"""Workers on the nodes of a Ray cluster that see the workspace: the very same worker command, one Ray actor beside each.

The actor is detached: it outlives the supervisor, which finds it again by the name in the run's folder. What the worker
has to say comes as lines in that folder (relay.py). A node that dies takes actor and worker with it; the run is then as
dead as a local one whose worker was killed, and the supervisor starts it again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpd.errors import CpdError, RunError
from cpd.files import read_json, write_json
from cpd.runs import leash, relay
from cpd.runs.crew import worker_command, worker_environment
from cpd.runs.launcher import Handle, Poll, read_log
from cpd.runs.lock import is_held
from cpd.runs.ray_agent import agent_class
from cpd.runs.rows import ASKED
from cpd.runs.store import Store
from cpd.runs.worker_status import NOT_NEEDED
from cpd.runs.workspace import REPOSITORY, database

FILE = "cluster.json"  # in the workspace: {"ray": "HOST:PORT"}, the address of the cluster's head
NAMESPACE = "cpd"
_PASSED_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GLOO_SOCKET_IFNAME", "PYTHONSAFEPATH")
_ANSWER_S = 0.02  # a look waits this long for an actor to answer; the answer may come with the next look
_REACH_S = 5.0
_LOOK_S = 1.0  # between two looks at which nodes there are


class RayLauncher:
    """See `cpd.runs.launcher.Launcher`; a place is the id of a node."""

    def __init__(self, root: Path) -> None:
        """Of a workspace with a cluster.json. Nothing is connected to before it is needed."""
        self._root = root
        self._store = Store(database(root))
        self._ray: Any = None
        self._answers: dict[str, Any] = {}  # actor -> what it was asked and has not answered yet
        self._told: set[str] = set()  # actors that were told to stop their worker
        self._nodes: tuple[float, list[str]] = (-1e9, [])

    def places(self) -> Sequence[str]:
        """Nodes that are alive and offer at least one processor."""
        try:
            ray = self._connected()
        except RunError:
            return [""]  # a launch will say why
        looked, nodes = self._nodes
        if time.monotonic() - looked > _LOOK_S:
            rows = ray.nodes()
            nodes = sorted(row["NodeID"] for row in rows if row["Alive"] and row["Resources"].get("CPU", 0) >= 1)
            self._nodes = (time.monotonic(), nodes)
        return nodes

    def launch(self, run_dir: Path, place: str = "") -> Handle:
        ray = self._connected()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._end_actor(run_dir)  # of a launch that nobody saw the end of
        relay.prepare(run_dir, self._store.run(run_dir.name))
        name = f"{run_dir.name}-{secrets.token_hex(4)}"
        write_json(run_dir / relay.FOLDER / "actor.json", {"name": name, "place": place})
        environment = {k: v for k, v in worker_environment(run_dir, os.environ).items() if _travels(k)}
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
            relay.VARIABLE: "1",
            leash.VARIABLE: "1",
        }
        where = NodeAffinitySchedulingStrategy(node_id=place, soft=False) if place else "DEFAULT"
        options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0, "max_restarts": 0}
        agent = ray.remote(agent_class()).options(**options, scheduling_strategy=where)
        self._answers[name] = agent.remote(
            worker_command(run_dir, "PYTHON"), environment, str(run_dir / "worker.log")
        ).exit_code.remote()
        return Handle(run_dir, 0)

    def poll(self, handle: Handle) -> Poll:
        run_dir = handle.run_dir
        name, place = _actor_of(run_dir)
        if not name:
            return Poll(is_held(run_dir / "lock"))
        ray = self._connected()
        relay.carry_out(run_dir, self._store, run_dir.name, ended=False)
        try:
            actor = ray.get_actor(name, namespace=NAMESPACE)
            answer = self._answers.pop(name, None) or actor.exit_code.remote()
            if not ray.wait([answer], timeout=_ANSWER_S)[0]:
                self._answers[name] = answer
                return Poll(True, place=place)
            code = ray.get(answer)
        except ray.exceptions.ActorUnavailableError:
            return Poll(True, place=place)  # out of reach for now; Ray says so when it is gone for good
        except (ValueError, ray.exceptions.RayActorError) as error:
            self._end(run_dir)
            return Poll(False, place=place, said=_why(error))
        if code is None:
            if self._store.run(run_dir.name).state in ASKED and name not in self._told:
                self.cancel(handle)
                self._told.add(name)
            return Poll(True, place=place)
        self._end(run_dir)
        return Poll(code == NOT_NEEDED and is_held(run_dir / "lock"), code, place)

    def cancel(self, handle: Handle, force: bool = False) -> None:
        name, _ = _actor_of(handle.run_dir)
        if not name:
            return
        relay.ask(handle.run_dir)
        with contextlib.suppress(ValueError):  # it is gone, and its worker with it
            actor = self._connected().get_actor(name, namespace=NAMESPACE)
            if force:
                actor.kill.remote()
            else:
                actor.signal.remote(int(signal.SIGTERM))

    def logs(self, handle: Handle, last: int = 200) -> list[str]:
        return read_log(handle.run_dir, last)

    def close(self) -> None:
        self._store.close()
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _end(self, run_dir: Path) -> None:
        """The worker is dead: write what it said last, and leave nothing behind."""
        relay.carry_out(run_dir, self._store, run_dir.name, ended=True)
        self._end_actor(run_dir)
        relay.remove(run_dir)

    def _end_actor(self, run_dir: Path) -> None:
        name, _ = _actor_of(run_dir)
        self._answers.pop(name, None)
        self._told.discard(name)
        with contextlib.suppress(ValueError):
            self._ray.kill(self._ray.get_actor(name, namespace=NAMESPACE))

    def _connected(self) -> Any:
        """Ray, as a client of the cluster.

        Raises:
            RunError: it is not installed, or the cluster does not answer.
        """
        if self._ray is not None:
            return self._ray
        address = cluster_of(self._root)
        host, _, port = address.rpartition(":")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if host == "127.0.0.1":  # a cluster for this machine alone; Ray would go by the machine's address to others
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
        except ImportError as error:
            raise RunError(
                f"{self._root / FILE} names a Ray cluster, and ray is not installed: "
                f"{sys.executable} -m pip install -r requirements-cluster.txt."
            ) from error
        try:
            # Ray itself would try for minutes, and the queue would look as if nothing was wrong.
            socket.create_connection((host, int(port)), timeout=_REACH_S).close()
            ray.init(address, namespace=NAMESPACE, log_to_driver=False, ignore_reinit_error=True)
        except Exception as error:  # ray raises what its many layers raise
            text = " ".join(str(error).split())[:200]
            raise RunError(
                f"the Ray cluster at {address!r} does not answer ({text}); start it, or mend {self._root / FILE}."
            ) from error
        self._ray = ray
        return ray


def cluster_of(root: Path) -> str:
    """Address of the Ray cluster that a workspace's runs go to.

    Raises:
        RunError: cluster.json is not {"ray": "HOST:PORT"}.
    """
    path = root / FILE
    row = read_json(path)
    if not isinstance(row, dict) or set(row) != {"ray"} or not isinstance(row["ray"], str) or not row["ray"]:
        raise RunError(f'{path}: give {{"ray": "HOST:PORT"}}, the address of the cluster\'s head; or remove it.')
    return row["ray"]


def _actor_of(run_dir: Path) -> tuple[str, str]:
    """(name, place) of the actor that the run was given to, ("", "") where there is none."""
    try:
        row = read_json(run_dir / relay.FOLDER / "actor.json")
        return str(row["name"]), str(row["place"])
    except (CpdError, KeyError, TypeError):
        return "", ""


def _travels(name: str) -> bool:
    return name.startswith("CPD_") or name in _PASSED_ON


def _why(error: Exception) -> str:
    """What is known of an actor's end, in words."""
    text = str(error)
    if "FileNotFoundError" in text:
        return text[text.rindex("FileNotFoundError") :].partition(": ")[2].splitlines()[0]
    return "its node, or the actor beside it, is gone"
