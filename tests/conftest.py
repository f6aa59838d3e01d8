"""Tests keep their traces to themselves: nothing is read from or left in the user's cache."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "CPD_CACHE" not in os.environ:  # workers of a parallel run inherit the folder of the process that started them
    folder = tempfile.mkdtemp(prefix="cpd-traces-")
    os.environ["CPD_CACHE"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
