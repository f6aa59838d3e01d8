"""One folder with everything that a pruned model needs to live without this project, and proof that it does.

README.md            the model card
model.safetensors    weights; `cpd.load_model` and load.py both open it
network.py, load.py  the network as Python that needs torch alone (tables.safetensors where it reads fixed tables)
model.onnx           any batch size
model.pt2            torch.export program, any batch size
plan.json            what was cut, group by group, and why
history.json         every cut, evaluation and restart, in order
metrics.csv          all curves of the run
report.html          the run for those who never heard of pruning, and how everything was measured; needs no network
parity.json          every form on real images beside the pruned model
manifest.json        digest and size of every file above
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.fx import GraphModule

from cpd import __version__
from cpd.errors import ExportError, StorageError
from cpd.export import FORMATS
from cpd.export.card import Card, write_card
from cpd.export.exchange import write_onnx, write_pt2
from cpd.export.forms import open_form
from cpd.export.parity import Comparison, compare, time_forms
from cpd.export.records.tables import metrics_csv
from cpd.export.result import TIMED, FormParity, Handover
from cpd.export.source import network_source, tables
from cpd.files import make_folder, replacing, write_json
from cpd.measure.latency import evaluating
from cpd.measure.machine import device_name
from cpd.measure.measurement import Latency
from cpd.prune.plan import Plan
from cpd.tasks.task import Task

HANDOUT = Path(__file__).parent / "handout"
Progress = Callable[[int, int], None]

_FILES = {"loader": ("model.safetensors", "network.py", "load.py"), "onnx": ("model.onnx",), "pt2": ("model.pt2",)}


@dataclass(frozen=True)
class Story:
    """What is handed over beside the network: where it comes from and what happened to it.

    Attributes:
        source: name of the run or folder.
        events: plain rows; `metrics`: name -> (steps, values).
        script: the plan for Torch-Pruning (see `rival.py`), "" where it cannot be expressed.
        report: makes the report of what was found, as one HTML file.
    """

    source: str
    card: Card
    plan: Plan | None = None
    events: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, tuple[Sequence[int], Sequence[float]]] = field(default_factory=dict)
    script: str = ""
    report: Callable[[Handover], str] | None = None


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The formats asked for, each once.

    Raises:
        ExportError: one that is not known.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ExportError(f"format {unknown[0]!r} is unknown; known are {', '.join(FORMATS)}.")
    return tuple(dict.fromkeys(names))


def hand_over(
    bundle: Path,
    pruned: nn.Module,
    inputs: tuple[Tensor, ...],
    story: Story,
    folder: Path,
    *,
    dense: nn.Module | None = None,
    task: Task | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    images: int = 512,
    batches: Sequence[int] = (1, 32),
    seconds: float = 2.0,
    compiled: bool = False,
    progress: Progress | None = None,
) -> Handover:
    """Write every form into `folder`, open each again, and compare it with the pruned model.

    Args:
        bundle: safetensors file that `pruned` was read from; it goes along byte for byte.
        dense: timed beside it, where it is given.
        images: held-out images that are compared, at the most.
        compiled: also time torch.compile of the pruned model, which takes a compiler and a minute.
    Returns:
        What parity.json says. A form that fails, or answers otherwise, is in it with the reason; `verified` is then false.
    Raises:
        StorageError: a file cannot be written.
    """
    chosen = check_formats(formats)
    steps = len(chosen) + 3
    tick = _Ticker(progress, steps)
    _empty(folder)
    pruned = pruned.eval().cpu()
    failures: dict[str, str] = {}
    try:
        shutil.copyfile(bundle, folder / "model.safetensors")
        for form in chosen:
            try:
                _write(form, pruned, inputs, folder, story.card)
            except ExportError as error:
                failures[form] = str(error)
            tick()
        _tell(story, folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write the hand-over ({error}); free space or choose another folder."
        ) from error

    forms: dict[str, nn.Module] = {}
    for form in chosen:
        if form not in failures:
            try:
                forms[form] = open_form(form, folder)
            except ExportError as error:
                failures[form] = str(error)
    with evaluating(pruned):
        found = compare(pruned, forms, inputs, task, images)
    tick()
    timed_modules: dict[str, nn.Module] = {"eager": pruned, **forms}
    if dense is not None:
        timed_modules["dense"] = dense.eval().cpu()
    if compiled:
        _add_compiled(timed_modules, failures, pruned, inputs, batches)
    timed = time_forms(
        {n: m for n, m in timed_modules.items() if not _failed(found.forms.get(n))}, inputs, batches, seconds
    )
    tick()
    rows = [
        _row(form, folder, found.forms.get(form), found.quality, timed.get(form, ()), failures.get(form, ""))
        for form in (*chosen, *(("compiled",) if compiled else ()))
    ]
    result = Handover(
        source=story.source,
        model=story.card.model,
        metric=task.metric_name if task else "",
        images=found.images,
        inputs="images" if task else "random",
        quality=found.quality,
        eager=timed["eager"],
        dense=timed.get("dense", ()),
        forms=tuple(rows),
        machine=device_name(torch.device("cpu")),
        torch=torch.__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    write_json(folder / "parity.json", result.to_dict())
    if story.report is not None:
        with replacing(folder / "report.html") as file:
            file.write(story.report(result).encode())
    write_card(folder / "README.md", story.card, result)
    write_manifest(folder, result.verified)
    tick()
    return result


def _empty(folder: Path) -> None:
    """Make the folder, without the files of an earlier hand-over; anything else in it is left alone and refused.

    Raises:
        StorageError: the folder holds other files.
    """
    make_folder(folder)
    earlier = set()
    if (folder / "manifest.json").exists():
        earlier = {*read_manifest(folder), "manifest.json"}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in earlier)
    if foreign:
        raise StorageError(f"{folder}: holds {foreign[0]}, which no hand-over wrote; choose an empty folder.")
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


class _Ticker:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)


def _write(form: str, pruned: nn.Module, inputs: tuple[Tensor, ...], folder: Path, card: Card) -> None:
    if form == "loader":
        if not isinstance(pruned, GraphModule):
            raise ExportError(
                f"{card.model}: nothing was cut, so there is no network to write out; its own code opens the weights."
            )
        (folder / "network.py").write_text(network_source(pruned, card.model))
        shutil.copyfile(HANDOUT / "load.py", folder / "load.py")
        fixed = tables(pruned)
        if fixed:
            save_file(fixed, folder / "tables.safetensors")
    elif form == "onnx":
        write_onnx(pruned, inputs, folder / "model.onnx", card.preprocessing)
    else:
        write_pt2(pruned, inputs, folder / "model.pt2")


def _tell(story: Story, folder: Path) -> None:
    if story.plan is not None:
        with replacing(folder / "plan.json") as file:
            file.write(story.plan.to_json().encode())
    if story.script:
        (folder / "torch_pruning_script.py").write_text(story.script)
    write_json(folder / "history.json", [dict(row) for row in story.events])
    with replacing(folder / "metrics.csv") as file:
        file.write(metrics_csv(story.metrics).encode())


def _add_compiled(
    modules: dict[str, nn.Module],
    failures: dict[str, str],
    pruned: nn.Module,
    inputs: tuple[Tensor, ...],
    batches: Sequence[int],
) -> None:
    """torch.compile needs a C++ compiler; where it has none, that is what the table says."""
    try:
        compiled = torch.compile(pruned)
        with torch.inference_mode():
            for batch in batches:
                compiled(*(x[:1].repeat(batch, *[1] * (x.ndim - 1)) for x in inputs))
    except Exception as error:  # noqa: BLE001  whatever inductor raises
        failures["compiled"] = f"torch.compile fails ({str(error).strip().splitlines()[0][:200]})"
        return
    modules["compiled"] = compiled  # type: ignore[assignment]


def _failed(comparison: Comparison | None) -> bool:
    return comparison is not None and bool(comparison.failure)


def _row(
    form: str,
    folder: Path,
    comparison: Comparison | None,
    reference: float | None,
    timed: tuple[Latency, ...],
    failure: str,
) -> FormParity:
    files = tuple(
        name
        for name in (*_FILES.get(form, ()), *(("tables.safetensors",) if form == "loader" else ()))
        if (folder / name).exists()
    )
    if comparison is None:
        reason = failure or (TIMED if form == "compiled" else "was not opened")
        return FormParity(
            form,
            files if form != "compiled" else (),
            _size(folder, files),
            None,
            None,
            None,
            None,
            timed,
            False,
            reason,
        )
    reason = comparison.verdict(reference)
    return FormParity(
        form,
        files,
        _size(folder, files),
        comparison.difference,
        comparison.scale,
        comparison.agree,
        comparison.quality,
        timed,
        not reason,
        reason,
    )


def _size(folder: Path, files: Sequence[str]) -> int:
    return sum((folder / name).stat().st_size for name in files)


def write_manifest(folder: Path, verified: bool) -> None:
    """manifest.json: SHA-256 and bytes of every other file of the folder."""
    rows = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "manifest.json"
    }
    write_json(
        folder / "manifest.json", {"schema": 1, "verified": verified, "made_by": f"cpd {__version__}", "files": rows}
    )


def read_manifest(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, as the manifest says.

    Raises:
        StorageError: there is no manifest, or it names what cannot be a file of the folder.
    """
    try:
        rows = json.loads((folder / "manifest.json").read_text())["files"]
        found = {str(name): str(row["sha256"]) for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{folder}/manifest.json: cannot be read ({error}).") from error
    strange = [name for name in found if Path(name).name != name or name in (".", "..")]
    if strange:
        raise StorageError(f"{folder}/manifest.json: names {strange[0]!r}, which is no file of this folder.")
    return found


def check_manifest(folder: Path) -> list[str]:
    """What differs between the manifest and the files, in words; empty when nothing does."""
    found = []
    for name, digest in read_manifest(folder).items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(f"{name} was changed")
    return found
