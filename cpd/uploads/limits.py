"""Every number that bounds an upload."""

from __future__ import annotations

MIB = 1 << 20
WEIGHTS_MIB = 500  # of a file of weights
ARCHIVE_MIB = 500  # of a zip

# Weights.
HEADER_BYTES = 16 * MIB  # of a safetensors header; a model of 10,000 tensors needs about 1.5
PICKLE_BYTES = 16 * MIB  # of the part of a torch.save file that names its tensors
TENSORS = 50_000
DIMENSIONS = 16

# Archives.
FILES = 50_000
CONTENTS_BYTES = 32 * MIB  # of a zip's table of contents
UNPACKED_BYTES = 2048 * MIB  # of all files together
ONE_FILE_BYTES = 64 * MIB
TEXT_BYTES = 4 * MIB  # of a text that names classes or files
RATIO = 100  # of unpacked to packed, beyond the first MiB of a file
NAME_LENGTH = 512
DEPTH = 16

# Images.
PIXELS = 40_000_000
SIDE = 20_000

# The checker.
CPU_S = {"weights": 60, "data": 240, "build": 60}
WALL_S = {"weights": 120, "data": 480, "build": 120}
MEMORY_BYTES = 768 * MIB  # beyond what the process holds when it begins, and beyond some multiple of the file
BUILD_BYTES = 4096 * MIB  # beyond what it holds, to build a model whose shapes are asked for
