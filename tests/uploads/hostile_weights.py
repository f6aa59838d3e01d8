"""Weights made to do harm, or broken: by hand, so that no library repairs them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Case = tuple[str, str, bytes]  # what it is, the file's name, its bytes


# Pickles ----------------------------------------------------------------------------------------------------------------


class Call:
    """Pickles as a call: whoever loads it, makes it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payloads(mark: str) -> dict[str, Any]:
    """Objects that leave the file `mark` when they are unpickled."""
    import builtins
    import code
    import os
    import pathlib
    import shutil
    import subprocess
    import timeit

    python = f"open({mark!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "os.popen": Call(os.popen, f"touch {mark}"),
        "os.mkdir": Call(os.mkdir, mark),
        "os.mknod": Call(os.mknod, mark),
        "os.symlink": Call(os.symlink, "/etc/passwd", mark),
        "subprocess.call": Call(subprocess.call, ["touch", mark]),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", mark]),
        "subprocess.check_output": Call(subprocess.check_output, ["touch", mark]),
        "exec": Call(builtins.exec, python),
        "eval": Call(builtins.eval, python),
        "open": Call(builtins.open, mark, "w"),
        "compile then exec": Call(builtins.exec, Call(builtins.compile, python, "x", "exec")),
        "write_text": Call(pathlib.Path.write_text, pathlib.Path(mark), "x"),
        "map of exec": Call(builtins.list, Call(builtins.map, builtins.exec, [python])),
        "pathlib": Call(pathlib.Path.touch, pathlib.Path(mark)),
        "shutil.copy": Call(shutil.copy, "/etc/hostname", mark),
        "timeit": Call(timeit.timeit, python, "pass", timeit.default_timer, 1),
        "code": Call(code.InteractiveInterpreter),
        "__import__": Call(builtins.__import__, "antigravity"),
    }  # fmt: skip


def _zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _saved(pickled: bytes, **more: bytes) -> bytes:
    """As torch.save writes it."""
    return _zipped({"archive/data.pkl": pickled, "archive/byteorder": b"little", "archive/data/0": bytes(64), "archive/version": b"3\n", **more})


def _before_zips(*pickles: bytes) -> bytes:
    """As torch.save wrote it before 1.6: `pickles` from the second on, then usual ones."""
    usual = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2), pickle.dumps({}, 2), pickle.dumps([], 2)]
    return b"".join([*pickles, *usual[len(pickles) :]])


def pickled(mark: str) -> Iterator[Case]:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    for name, payload in payloads(mark).items():
        yield f"{name} in a zip of torch.save", "w.pt", _saved(pickle.dumps({"a": payload}, 2))
        yield f"{name} before zips", "w.pth", _before_zips(magic, pickle.dumps(1001, 2), pickle.dumps({}, 2), pickle.dumps(payload, 2))
    system = payloads(mark)["os.system"]
    for protocol in range(6):
        yield f"bare pickle, protocol {protocol}", "w.ckpt", pickle.dumps(system, protocol)
        yield f"protocol {protocol} in a zip", "w.bin", _saved(pickle.dumps({"a": system}, protocol))
    for place in (0, 1, 2, 4):  # the fourth is above
        usual = [magic, pickle.dumps(1001, 2), pickle.dumps({}, 2), pickle.dumps({}, 2)]
        yield f"payload as pickle {place} of 5", "w.pth", _before_zips(*usual[:place], pickle.dumps(system, 2))
    command = f"touch {mark}".encode()
    yield "INST", "w.pt", _saved(b"(S'" + command + b"'\nios\nsystem\n.")
    yield "OBJ", "w.pt", _saved(b"(cos\nsystem\nS'" + command + b"'\no.")
    yield "dotted name", "w.pt", _saved(b"ctorch\n_utils.os.system\nS'" + command + b"'\n\x85R.")
    yield "a name of torch that runs", "w.pt", _saved(b"ctorch.hub\nload\nS'x/y'\n\x85R.")
    yield "a module of torch", "w.pt", _saved(b"ctorch.nn.modules.linear\nLinear\n)\x81.")
    yield "extension code", "w.pt", _saved(b"\x82\x01.")
    yield "payload after the first stop", "w.pt", _saved(pickle.dumps(1, 2) + pickle.dumps(system, 2))
    yield "payload beside a good pickle", "w.pt", _saved(b"\x80\x02}.", **{"b/data.pkl": pickle.dumps(system, 2)})
    yield "TorchScript", "w.pt", _saved(b"\x80\x02}.", **{"archive/constants.pkl": pickle.dumps(system, 2), "archive/code/x.py": b"import os"})
    yield "as safetensors", "w.safetensors", pickle.dumps(system)
    yield "zip as safetensors", "w.safetensors", _saved(pickle.dumps(system))
    yield "gzip of a pickle", "w.pt", gzip.compress(pickle.dumps(system), mtime=0)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../pickle"))
    yield "tar of old torch", "w.pt", packed.getvalue()
    objects = io.BytesIO()
    np.save(objects, np.array([system], dtype=object), allow_pickle=True)
    yield "numpy array of objects", "w.pt", objects.getvalue()
    yield "numpy archive", "w.pt", _zipped({"a.npy": objects.getvalue()})


# Files of torch.save that are no state dicts ----------------------------------------------------------------------------


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    raw = value.to_bytes(10, "little", signed=True)
    return b"\x8a\x0a" + raw


def state_dict(values: np.ndarray, *, shape: Any = None, stride: Any = (1,), offset: int = 0, count: int | None = None, key: str = "0", after: bytes = b"", **more: bytes) -> bytes:
    """One tensor "w" over one storage of float32, in torch.save's own words."""
    shape = values.shape if shape is None else shape
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + _number(values.size if count is None else count) + b"tQ"
    sizes, steps = (b"(" + b"".join(map(_number, numbers)) + b"t" for numbers in (shape, stride))
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(offset) + sizes + steps + b"\x89ccollections\nOrderedDict\n)RtR"
    return _zipped({
        "archive/data.pkl": b"\x80\x02}" + _text("w") + tensor + b"s" + after + b".",
        "archive/byteorder": b"little", "archive/data/0": values.astype("<f4").tobytes(), "archive/version": b"3\n", **more,
    })  # fmt: skip


def state_dicts() -> Iterator[Case]:
    values = np.arange(6, dtype=np.float32)
    for what in (np.nan, np.inf, -np.inf):
        yield f"{what} in a state dict", "w.pt", state_dict(np.array([0, 1, what]))
    yield "one number a billion times", "w.pt", state_dict(values, shape=(1 << 30,), stride=(0,))
    yield "one number 2**62 times", "w.pt", state_dict(values, shape=(1 << 31, 1 << 31), stride=(0, 0))
    yield "a tensor beyond its storage", "w.pt", state_dict(values, shape=(1000,))
    yield "a negative offset", "w.pt", state_dict(values, offset=-4)
    yield "an offset beyond the end", "w.pt", state_dict(values, offset=1 << 40)
    yield "a negative shape", "w.pt", state_dict(values, shape=(-6,))
    yield "a negative stride", "w.pt", state_dict(values, shape=(2,), stride=(-1,), offset=3)
    yield "a storage that claims a terabyte", "w.pt", state_dict(values, count=1 << 38)
    yield "a storage of negative size", "w.pt", state_dict(values, count=-1)
    yield "a storage that is not there", "w.pt", state_dict(values, key="7")
    yield "a storage outside the archive", "w.pt", state_dict(values, key="../../../etc/passwd")
    yield "an entry that is a number", "w.pt", state_dict(values, after=_text("epoch") + b"K\x05s")
    yield "an entry without a name", "w.pt", state_dict(values, after=b"K\x05K\x05s")
    yield "empty", "w.pt", _saved(b"\x80\x02}.")
    yield "a list", "w.pt", _saved(b"\x80\x02].")
    yield "a text", "w.pt", _saved(_text("weights") + b".")
    yield "nothing", "w.pt", _saved(b"N.")
    yield "an empty pickle", "w.pt", _saved(b"")
    yield "a pickle cut short", "w.pt", _saved(b"\x80\x02}X\x00\x10\x00\x00abc")
    yield "a text of 4 GiB", "w.pt", _saved(b"X\xff\xff\xff\xffabc.")
    yield "a number of 2 GiB", "w.pt", _saved(b"\x8b\xff\xff\xff\x7fabc.")
    yield "memory that was never filled", "w.pt", _saved(b"h\x07.")
    yield "a stack that is empty", "w.pt", _saved(b"0000.")
    yield "tuples nested 200,000 deep", "w.pt", _saved(b"\x80\x02N" + b"\x85" * 200_000 + b".")
    yield "no version", "w.pt", _zipped({"archive/data.pkl": b"\x80\x02}."})
    yield "compressed", "w.pt", _zipped({"archive/data.pkl": b"\x80\x02}.", "archive/data/0": bytes(1 << 16)}, zipfile.ZIP_DEFLATED)
    good = state_dict(values)
    for cut in (1, 3, 30, len(good) // 2, len(good) - 30, len(good) - 1):
        yield f"cut after {cut} bytes", "w.pt", good[:cut]
    damaged = bytearray(good)
    damaged[good.index(b"archive/data.pkl") + 20] ^= 0xFF
    yield "a flipped byte in the pickle", "w.pt", bytes(damaged)


# Safetensors ------------------------------------------------------------------------------------------------------------

GOOD = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}


def safetensors(head: Any = GOOD, data: bytes = bytes(16), length: int | None = None) -> bytes:
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def _one(**changed: Any) -> bytes:
    return safetensors({"w": GOOD["w"] | changed})


def _two(first: list[int], second: list[int], size: int = 32) -> bytes:
    return safetensors({name: GOOD["w"] | {"data_offsets": place} for name, place in (("a", first), ("b", second))}, bytes(size))


def forged() -> Iterator[Case]:
    good = safetensors()
    cases: dict[str, bytes] = {
        f"length {length}": safetensors(length=length) for length in (0, 1, 3, len(good), 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    }  # fmt: skip
    cases |= {f"cut after {cut} bytes": good[:cut] for cut in (1, 7, 8, 9, 40, len(good) - 16, len(good) - 1)}
    cases |= {f"shape {str(shape)[:30]}": _one(shape=shape) for shape in (
        [2, 3], [-2, -2], [True, 4], [2.0, 2.0], ["2", "2"], "22", None, {}, [[2], 2], [1 << 62, 1 << 62], [0, 4], [1] * 100 + [4], [float("inf")], [10**400],
    )}  # fmt: skip
    cases |= {f"offsets {offsets}": _one(data_offsets=offsets) for offsets in (
        [-16, 0], [16, 0], [0, 17], [0, 1 << 40], [0], [0, 16, 32], [0.0, 16.0], "016", None, [1, 17], [-(1 << 63), 16],
    )}  # fmt: skip
    cases |= {f"dtype {dtype}": _one(dtype=dtype) for dtype in ("F128", "object", "", None, ["F32"], "F8_E4M3", 4)}
    cases |= {
        "overlapping": _two([0, 16], [8, 24], 24), "the same bytes twice": _two([0, 16], [0, 16], 16), "a hole": _two([0, 16], [24, 40], 40),
        "bytes at the end": safetensors(data=bytes(17)), "no tensors": safetensors({}, b""), "an array": safetensors([], b""),
        "not JSON": safetensors(b"{" + b"x" * 40), "brackets 1,000,000 deep": safetensors(b'{"w":' + b"[" * 1_000_000),
        "tables 100,000 deep": safetensors(b'{"w":' * 100_000), "a name twice": safetensors(b'{"w":' + json.dumps(GOOD["w"]).encode() + b',"w":' + json.dumps(GOOD["w"]).encode() + b"}"),
        "NaN in the header": safetensors(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}'), "no UTF-8": safetensors(b'{"\xff\xfe":1}'),
        "UTF-16": safetensors(json.dumps(GOOD).encode("utf-16")), "a number of 100,000 digits": safetensors(b'{"w":' + b"9" * 100_000 + b"}"),
        "an entry that is text": safetensors({"w": "F32"}), "an entry with more": _one(code="import os"), "an entry with less": safetensors({"w": {"dtype": "F32"}}),
        "metadata that is no text": safetensors(GOOD | {"__metadata__": {"a": 1}}), "metadata that is a list": safetensors(GOOD | {"__metadata__": ["a"]}),
        "60,000 tensors": safetensors({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}, b""),
        "zeros, as a sparse file reads": bytes(1 << 22), "a header of 20 MiB": safetensors(b"{" + b" " * (20 << 20) + b"}", b""),
    }  # fmt: skip
    for dtype, kind in (("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2")):
        for value in (np.nan, -np.inf):
            data = np.array([0, value], kind).tobytes()
            cases[f"{value} as {dtype}"] = safetensors({"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, len(data)]}}, data)
    for bits in (0x7FC0, 0xFF80):
        cases[f"{bits:#x} as BF16"] = safetensors({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, struct.pack("<2H", 0, bits))
    far = np.zeros(3_000_000, "<f4")
    far[-1] = np.nan
    cases["NaN at the far end"] = safetensors({"w": {"dtype": "F32", "shape": [len(far)], "data_offsets": [0, far.nbytes]}}, far.tobytes())
    for name, data in cases.items():
        yield name, "w.safetensors", data


def bundles() -> Iterator[Case]:
    good: dict[str, Any] = {"schema": 1, "spec": "timm:resnet18", "settings": {}, "plan": None, "version": "1"}
    heads: dict[str, str] = {
        "no JSON": "{", "a list": "[]", "a number": "7", "nothing in it": "{}", "deep": "[" * 100_000,
        **{f"{key} is {value!r}"[:60]: json.dumps(good | {key: value}) for key, value in (
            ("schema", 99), ("schema", None), ("spec", None), ("spec", ["timm:x"]), ("settings", []), ("settings", {"pretrained": True}),
            ("settings", {"checkpoint_path": "/etc/passwd"}), ("settings", {"num_classes": 1 << 40}), ("settings", {"depth": 1 << 15}),
            ("settings", {f"s{n}": n for n in range(100)}), ("settings", {"a": {"b": "c"}}), ("settings", {"a": "x" * 1000}), ("plan", []), ("plan", "x"), ("plan", 7),
            ("plan", {}), ("plan", {"schema": 1}), ("plan", {"groups": "x"}), ("plan", {"schema": 1, "groups": [{"group": 3}]}),
        )},
    }  # fmt: skip
    for name, text in heads.items():
        yield f"bundle: {name}", "w.safetensors", safetensors(GOOD | {"__metadata__": {"cpd": text}})


def misnamed() -> Iterator[Case]:
    for name in ("w.pkl", "w.exe", "w", "", ".safetensors/", "w.safetensors.zip", "w.pt\n", "w.onnx", "w.h5", "../../w.py"):
        yield f"the name {name!r}", name, safetensors()
    for name in ("w.safetensors", "w.pt"):
        yield f"empty {name}", name, b""
    yield "a shell script", "w.pth", b"#!/bin/sh\ntouch mark\n"
    yield "a program", "w.bin", b"\x7fELF" + bytes(100)
    yield "a name with escapes and lines", "\x1b[31mred\n<script>.pt", b"\x80\x02junk"
