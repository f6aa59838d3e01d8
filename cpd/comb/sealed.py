"""A file of JSON and tables under a checksum: what comes back is what was written, or nothing.

Layout: SHA-256 of the file's name and of all that follows (32 bytes), length of the JSON (8 bytes, little-endian), the JSON, the tables as
safetensors. No pickle, and a file that was renamed, cut short or changed by a bit is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cpd.files import replacing


def write_sealed(path: Path, head: Mapping[str, Any], tables: Mapping[str, Tensor]) -> str:
    """Write so that a reader never sees half a file; the seal in hexadecimal.

    Raises:
        TypeError, ValueError: the head is no JSON.
        StorageError: the disk does not take it.
    """
    text = json.dumps(head, separators=(",", ":")).encode()
    body = len(text).to_bytes(8, "little") + text + save_tensors(dict(tables))
    seal = hashlib.sha256(path.name.encode() + body)
    with replacing(path) as file:
        file.write(seal.digest())
        file.write(body)
    return seal.hexdigest()


def read_sealed(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Head, tables and seal.

    Raises:
        OSError: there is no such file.
        ValueError: it is not what was written.
    """
    data = memoryview(path.read_bytes())
    seal = hashlib.sha256(path.name.encode())
    seal.update(data[32:])
    if len(data) < 40 or seal.digest() != data[:32]:
        raise ValueError(f"{path}: damaged")
    end = 40 + int.from_bytes(data[32:40], "little")
    return json.loads(bytes(data[40:end])), load_tensors(bytes(data[end:])), seal.hexdigest()
