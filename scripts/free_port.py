"""Print a port of 127.0.0.1 that the app can listen on: the one asked for, or the first free one from 8501 on.

Exit status 2, and one line, where the port that was asked for is in use.
"""

from __future__ import annotations

import socket
import sys

FIRST, LAST = 8501, 8699


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that was just closed does not hold the port, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def main(arguments: list[str]) -> int:
    if arguments:
        port = int(arguments[0])
        if not 0 < port < 65536:
            print(f"port {port} is outside 1..65535; choose another with --port.", file=sys.stderr)
            return 2
        if not is_free(port):
            print(f"port {port} is in use; choose another with --port, or leave it out for the next free one.", file=sys.stderr)
            return 2
    else:
        port = next((p for p in range(FIRST, LAST + 1) if is_free(p)), 0)
        if not port:
            print(f"no port from {FIRST} to {LAST} is free; choose one with --port.", file=sys.stderr)
            return 2
    print(port)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
