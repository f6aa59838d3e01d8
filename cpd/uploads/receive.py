"""An upload into a project's folder: written under a name of ours, checked next to where it will be, moved or deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from cpd.access import require_change
from cpd.errors import CpdError, DataError, ModelError
from cpd.files import TEMPORARY, make_folder, storage_error, sync_folder
from cpd.uploads import limits
from cpd.uploads.child import ask

FOLDER = "uploads"  # in a project's folder
WEIGHTS = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")
_PIECE = 1 << 20


@dataclass(frozen=True)
class Weights:
    """Weights that were taken.

    Attributes:
        path: the safetensors file that is kept, whatever came.
        bundle: the SPEC that it was cut from where it is a pruned model, else "".
    """

    path: Path
    bundle: str = ""


@dataclass(frozen=True)
class Data:
    """Images that were taken.

    Attributes:
        name: of the data set, "imagefolder:DIR", "masks:DIR" or "voc:DIR".
        kind: the layout that was recognised.
        train, val: images to train on and held out, as far as the archive says; 0 where a part is held out later.
        left_out: files of the archive that are not needed.
    """

    name: str
    kind: str
    images: int
    train: int = 0
    val: int = 0
    classes: tuple[str, ...] = field(default=())
    left_out: int = 0

    @property
    def said(self) -> str:
        """What was recognised, in one sentence."""
        held = f" ({self.train:,} to train on, {self.val:,} held out)" if self.val else ""
        rest = f"; {self.left_out:,} other {'file was' if self.left_out == 1 else 'files were'} not needed" if self.left_out else ""  # fmt: skip
        kind = self.kind if self.kind[0].islower() else f"the layout of {self.kind}"
        return f"{self.images:,} images in {kind}{held}, {len(self.classes)} classes{rest}."


def receive_weights(name: str, content: BinaryIO, project: Path) -> Weights:
    """Take a safetensors file, a state dict or a bundle; nothing pickled is kept.

    Args:
        name: the file's, for messages and its ending.
        project: the project's folder.
    Raises:
        ModelError: refused, in one line.
        StorageError: it cannot be written.
    """
    require_change("upload files")
    suffix = Path(name).suffix.lower()
    if suffix not in WEIGHTS:
        raise ModelError(f"{shown(name)}: weights come as {', '.join(WEIGHTS)}.")
    with _staging(project) as stage:
        file = stage / ("incoming.safetensors" if suffix == ".safetensors" else "incoming.pt")
        _write(content, file, limits.WEIGHTS_MIB, shown(name), ModelError)
        answer = ask("weights", file, stage)
        if "refused" in answer:
            raise ModelError(one_line(name, answer["refused"]))
        made = file if answer["made"] is None else stage / answer["made"]
        return Weights(_keep(made, project / FOLDER / "weights.safetensors"), answer["bundle"] or "")


def receive_data(name: str, content: BinaryIO, project: Path) -> Data:
    """Take a zip of class folders, or of images and masks in any layout that is known; the zip itself is not kept.

    Raises:
        DataError: refused, in one line.
        StorageError: it cannot be written.
    """
    require_change("upload files")
    if Path(name).suffix.lower() != ".zip":
        raise DataError(f"{shown(name)}: data comes as a .zip of class folders, or of images and their masks.")
    with _staging(project) as stage:
        file = stage / "incoming.zip"
        _write(content, file, limits.ARCHIVE_MIB, shown(name), DataError)
        answer = ask("data", file, stage)
        if "refused" in answer:
            raise DataError(one_line(name, answer["refused"]))
        place = _keep(stage / answer["made"], project / FOLDER / "data")
        return Data(
            f"{answer['source']}:{place}",
            answer["kind"],
            answer["images"],
            answer["train"],
            answer["val"],
            tuple(answer["classes"]),
            answer["left_out"],
        )


def shown(name: str) -> str:
    """A file's name as it can be shown: its last part, printable, not long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c if c.isprintable() else "?" for c in last)[:80] or "file"


def one_line(name: str, reason: str, most: int = 300) -> str:
    """The refusal as a user reads it."""
    return f"{shown(name)}: {' '.join(''.join(c if c.isprintable() else ' ' for c in reason).split())[:most]}"


@contextmanager
def _staging(project: Path) -> Iterator[Path]:
    stage = make_folder(project / FOLDER / f"{TEMPORARY}{token_hex(8)}", new=True)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write(content: BinaryIO, file: Path, most_mib: int, name: str, error: type[CpdError]) -> None:
    written = 0
    try:
        with open(file, "xb") as opened:
            file.chmod(0o600)
            while piece := content.read(_PIECE):
                written += len(piece)
                if written > most_mib * limits.MIB:
                    raise error(
                        f"{name}: is larger than {most_mib} MiB; give the path of a file on this machine instead."
                    )
                opened.write(piece)
    except OSError as problem:
        raise storage_error(problem, file) from problem
    if not written:
        raise error(f"{name}: is empty.")


def _keep(made: Path, target: Path) -> Path:
    """Move into place; a project takes each kind of upload once, when it is made."""
    try:
        if made.is_dir():
            made.rename(target)
        else:
            made.chmod(0o600)
            made.replace(target)
        sync_folder(target.parent)
    except OSError as problem:
        raise storage_error(problem, target) from problem
    return target
