"""What the pickle of a state dict says, word by word: a machine that knows tables, texts, numbers and tensors.

Python's own machine calls what a pickle names. This one calls nothing: the few names that torch.save uses for tensors
are words of its own, and anything else ends it. Words: pickletools; use: torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from cpd.errors import ModelError
from cpd.uploads.tensors import short

SIZES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
}  # fmt: skip
"""Bytes of one number, by the kind of its storage."""

OBJECTS = "holds pickled objects{}, which could run code, and is not opened; save model.state_dict() instead."
_BROKEN = (ValueError, EOFError, struct.error, IndexError, AttributeError, OverflowError, KeyError, TypeError)
_MARK = object()


@dataclass(frozen=True)
class Storage:
    """A run of numbers of one kind, kept elsewhere in the file under `key`."""

    key: str
    kind: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: how it lies in a storage, counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * SIZES[self.storage.kind]


@dataclass(frozen=True)
class _Name:
    """One of the words that stand for tensors."""

    text: str


def read_words(source: bytes | BinaryIO) -> Any:
    """What one pickle holds: dicts, lists, tuples, texts, numbers, and `View` for every tensor.

    Raises:
        ModelError: it names anything but tensors, or is damaged.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(source):
            if operation.name == "STOP":
                return machine.pop()
            machine.do(operation.name, argument)
    except _BROKEN as error:
        raise ModelError(f"is damaged: {str(error)[:100] or type(error).__name__}.") from error
    raise ModelError("is damaged: it ends in the middle.")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            self.stack.append(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _NOTHING:
            raise ModelError(OBJECTS.format(""))

    def pop(self) -> Any:
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        found = []
        while (value := self.stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def name(self, text: str) -> None:
        if text not in _CALLS and text not in _PLAIN and _kind(text) is None:
            raise ModelError(OBJECTS.format(f" ({short(text)})"))
        self.stack.append(_Name(text))

    def stacked_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.name(f"{module} {name}")

    def remember(self, at: int) -> None:
        self.memo[at] = self.stack[-1]

    def recall(self, at: int) -> None:
        self.stack.append(self.memo[at])

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, _Name) or called.text not in _CALLS or not isinstance(arguments, tuple):
            raise ModelError(OBJECTS.format(""))
        self.stack.append(_CALLS[called.text](*arguments))

    def build(self) -> None:
        """The state of an OrderedDict: versions of modules, which no tensor needs."""
        self.pop()

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("an entry without its list")
        self.stack[-1].extend(values)

    def set(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(values) % 2:
            raise ValueError("an entry without its table")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (str, int)):  # the hash of a nested key may take for ever
                raise ValueError("a name that is no text")
            self.stack[-1][key] = value

    def persistent(self) -> None:
        """What torch.save keeps apart: ("storage", kind, key, device, count), and before zips one more, usually None."""
        what, kind, key, _, count, *view = self.pop()
        found = _kind(kind.text) if isinstance(kind, _Name) else None
        if what != "storage" or found is None or not isinstance(key, str) or any(part is not None for part in view):
            raise ModelError("keeps a tensor in a form that is not read; load it and save model.state_dict() again.")
        self.stack.append(Storage(key, found, _whole(count)))


def _kind(text: str) -> str | None:
    """ "torch FloatStorage" -> "Float"; None for any other name."""
    kind = text.removeprefix("torch ").removesuffix("Storage")
    return kind if text == f"torch {kind}Storage" and kind in SIZES else None


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 1 << 48:
        raise ValueError(f"a size of {short(number) if isinstance(number, int) else 'no number'}")
    return number


def _view(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> View:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2; checked against the storage's claim.

    Raises:
        ValueError: it reaches beyond its storage.
    """
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor without its numbers")
    view = View(storage, _whole(offset), tuple(map(_whole, shape)), tuple(map(_whole, stride)))
    if len(shape) != len(stride) or len(shape) > 64:
        raise ValueError("a tensor whose shape and strides differ in length")
    last = view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.stride, strict=True))
    if math.prod(view.shape) and last >= storage.count:
        raise ValueError(f"a tensor that reaches beyond its {storage.count:,} numbers")
    return view


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _table(pairs: Any = ()) -> dict[Any, Any]:
    if pairs != ():
        raise ValueError("a table that is made of something")
    return {}


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils _rebuild_tensor": _view,
    "torch._utils _rebuild_tensor_v2": _view,
    "torch._utils _rebuild_parameter": _parameter,
    "collections OrderedDict": _table,
    "torch Size": _parameter,
    "torch device": lambda *_: None,
}
_PLAIN = frozenset(
    f"torch {name}" for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
)
_VALUES = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "MARK": lambda: _MARK,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(("PROTO", "FRAME"))
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.stacked_name(),
    "PUT": _Machine.remember, "BINPUT": _Machine.remember, "LONG_BINPUT": _Machine.remember,
    "GET": _Machine.recall, "BINGET": _Machine.recall, "LONG_BINGET": _Machine.recall,
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set(machine.since_mark()),
    "POP": lambda machine, _: machine.stack.pop(),
    "BINPERSID": lambda machine, _: machine.persistent(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}  # fmt: skip
