"""Exit statuses of a worker that mean more than well or badly."""

from __future__ import annotations

NOT_NEEDED = 75  # another worker has the run, or it is over
DESERTED = 76  # another process of the run is dead
