"""One process with everything imported, which forks a checker per question: the same check, without the start each time.

A line in: KIND, FILE, FOLDER as JSON. A line out: what the checker printed, its exit status (negative: killed by that
signal), and the seconds of processor time it took.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cpd.models.header
import cpd.uploads.state_dict
import cpd.uploads.unpack  # noqa: F401
from cpd.uploads.check import check, line

for asked in sys.stdin:
    kind, file, folder = json.loads(asked)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        answer = check(kind, Path(file), Path(folder))
        os.write(write, line(answer).encode())
        os._exit(3 if "refused" in answer else 0)
    os.close(write)
    with os.fdopen(read, "rb") as opened:
        output = opened.read().decode()
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps([output, code, usage.ru_utime + usage.ru_stime]), flush=True)
