"""What runs on a node of the cluster beside a worker: starts it, says how it ended, passes signals on.

Ray ships this class as source, so a node needs nothing but the standard library to hold it.
"""

from __future__ import annotations

from typing import Any


def agent_class() -> type:
    """The class of the actor; made here, inside a function, so that it travels by value."""

    class Agent:
        def __init__(self, command: list[str], environment: dict[str, str], log: str) -> None:
            import os
            import subprocess
            import sys

            if not os.path.isdir(os.path.dirname(log)):
                raise FileNotFoundError(
                    f"the node {os.uname().nodename} does not see {os.path.dirname(log)}; mount the workspace there "
                    "at the same path"
                )
            # Ray narrows these for its own workers; ours decides by itself.
            given = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES" or v}
            given["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
            read, self._leash = os.pipe()
            with open(log, "ab") as output:
                self._child = subprocess.Popen(
                    [sys.executable if word == "PYTHON" else word for word in command],
                    stdin=read,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    umask=0o077,
                    env=given | environment,
                )
            os.close(read)

        def exit_code(self) -> int | None:
            """None while it lives."""
            code: int | None = self._child.poll()
            return code

        def signal(self, number: int) -> None:
            if self._child.poll() is None:
                self._child.send_signal(number)

        def kill(self) -> None:
            """The worker and whatever it started."""
            import os

            os.close(self._leash)
            self._child.kill()

    made: Any = Agent
    return made  # type: ignore[no-any-return]
