"""Generated code that looks every submodule up once.

A traced network reads each of its tensors by the whole path, `self.layer1.block.bn1.weight`, and every step of a path is a
call of torch's `__getattr__`: with small images and batches of one that is a tenth of a ResNet-20's pass. Here what paths
begin with is read into names of its own first. What is computed stays the same to the bit.
"""

from __future__ import annotations

import re

Body = list[str]  # of a function, in pieces of a line or less

_GETATTR = re.compile(r'getattr\((.*), "([^"\\]*)"\)')  # how names are read that are no identifiers
_DOT = re.compile(r"(.*)\.([A-Za-z_]\w*)")


def shortened(body: Body) -> Body:
    """The same statements, with submodules in names of their own; what reads differently is left as it is."""
    taken = {piece.partition(" = ")[0] for piece in body}
    found: dict[str, str] = {"self": "self"}
    result: Body = []

    def holder(path: str) -> str:
        """The name of a submodule, which is read just above where it is new."""
        if path not in found:
            base, leaf, named = _split(path)
            step = f"{holder(base)}.{leaf}" if named else f'getattr({holder(base)}, "{leaf}")'
            name = f"part_{len(found)}"
            while name in taken:
                name += "_"
            taken.add(name)
            result.append(f"{name} = {step}\n")
            found[path] = name
        return found[path]

    for piece in body:
        name, equals, path = piece.partition(" = ")
        if equals and _is_path(path):
            base, leaf, named = _split(path)
            piece = f"{name} = " + (f"{holder(base)}.{leaf}" if named else f'getattr({holder(base)}, "{leaf}")')
        result.append(piece)
    return result


def _split(path: str) -> tuple[str, str, bool]:
    """What is read, the last step, and whether that is written with a dot; ("", "", True) where it is no path."""
    for kind, named in ((_GETATTR, False), (_DOT, True)):
        match = kind.fullmatch(path)
        if match:
            return match[1], match[2], named
    return "", "", True


def _is_path(text: str) -> bool:
    """Whether it reads something of the module, step by step, and does nothing else."""
    base = _split(text)[0]
    return base == "self" or (bool(base) and _is_path(base))
