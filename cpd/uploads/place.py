"""Where the files of an archive go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cpd.uploads.archive import Entry


@dataclass(frozen=True)
class Place:
    """An entry, the folder of ours that it goes to, and its name there: its number, `end`, and `suffix`.

    Attributes:
        suffix: "" for that of the image's true format.
    """

    entry: Entry
    folder: str
    number: int
    end: str = ""
    suffix: str = ""
    mask: bool = False


@dataclass(frozen=True)
class Found:
    """What an archive holds.

    Attributes:
        source: "imagefolder", "masks" or "voc", as data sets are named.
        kind: the layout that was recognised, in words.
        classes: names of class folders as they will be on disk.
        names: the entry classes.txt of masks, None where there is none.
        texts: file of ours -> what will stand in it.
        left_out: files that are not needed.
    """

    source: str
    kind: str
    places: tuple[Place, ...]
    classes: tuple[str, ...] = ()
    names: Entry | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0
