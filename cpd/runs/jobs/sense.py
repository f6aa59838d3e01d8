"""Cut every group for real at one width after another and measure: sensitivity.json, rewritten as it fills."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cpd.files import write_json
from cpd.runs.context import RunContext
from cpd.runs.shared_scan import NODES, SCAN, Shared
from cpd.runs.subject import load_comb, load_data, load_subject
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.table import FILE, SensitivityTable
from cpd.sensitivity.turns import Alone

if TYPE_CHECKING:
    from torch import nn

    from cpd.comb.comb import Comb
    from cpd.importance.scores import ScoreTable
    from cpd.tasks.task import Task

BESIDE_SETTINGS = (
    "certify",
    "timeout_s",
    "pretrained",
    NODES,
    SCAN,
)  # options that say what is loaded, not how it is scanned
_SAVED_S = 1.0  # at the most this much of the scan is done again after a kill


def run(context: RunContext) -> None:
    """Options: the fields of cpd.sensitivity.settings.SenseSettings, and `nodes`, how many workers share the scan."""
    if int(context.spec.options.get(NODES, 1)) < 2:
        _finish(context, scanned(context))
        return
    share = Shared(context.run_dir, leads=True)
    try:
        _finish(context, scanned(context, share))
    finally:
        share.close()


def scanned(context: RunContext, share: Shared | None = None, keeps: bool = True) -> SensitivityTable:
    """Scan, alone or as one of several; `keeps`: the project's table and the checkpoints of the run are written."""
    from cpd.importance.scores import ScoreTable
    from cpd.measure.machine import pick_device
    from cpd.sensitivity.scan import scan

    spec = context.spec
    settings = SenseSettings.from_dict({k: v for k, v in spec.options.items() if k not in BESIDE_SETTINGS})
    device = pick_device(spec.device)
    state = context.load() if keeps else None
    model, inputs = load_subject(spec)
    comb = load_comb(context, model, inputs)
    context.check_stop()
    task = load_data(context, inputs, context.watch_stop)
    model.to(device)

    def score() -> str:
        return _scores(context, settings, model, comb, task).to_json()

    if state is None:
        table, ranks, saved = None, share.agreed(score) if share else score(), 0
    else:  # the units that the scan began with, whatever was scored since
        table, ranks, saved = SensitivityTable.from_dict(state["table"]), state["scores"], int(state["saved"])
    latest = 0.0

    def report(table: SensitivityTable, done: int, total: int) -> None:
        nonlocal latest, saved
        context.progress(done, total)
        if keeps and (table.done or time.monotonic() - latest >= _SAVED_S):
            saved += 1
            table.save(context.folder / FILE)
            context.save({"table": table.to_dict(), "scores": ranks, "saved": saved}, saved)
            latest = time.monotonic()
        context.check_stop()

    groups = ScoreTable.from_json(ranks).groups
    return scan(
        model,
        inputs,
        comb,
        task,
        groups,
        settings,
        device,
        spec.seed,
        table,
        report,
        context.watch_stop,
        context.check_stop,
        share or Alone(),
    )


def _finish(context: RunContext, found: SensitivityTable) -> None:
    write_json(context.run_dir / "result.json", found.to_dict())
    widths = sum(len(group.points) - 1 for group in found.groups.values())
    text = f"{len(found.groups)} groups cut at {widths} widths in {found.seconds:.0f} s"
    context.event(widths, "note", text)


def _scores(context: RunContext, settings: SenseSettings, model: nn.Module, comb: Comb, task: Task) -> ScoreTable:
    """What the project has scored by the criterion, else scored now."""
    from cpd.errors import StorageError
    from cpd.importance.registry import check_criteria
    from cpd.importance.scores import ScoreTable
    from cpd.importance.scoring import score

    (name,) = check_criteria([settings.criterion])
    try:
        known = ScoreTable.load(context.folder / "scores" / f"{name}.json")
        if known.model == comb.model:
            return known
    except StorageError:
        pass  # not scored yet
    data = task.train_batches(min(32, task.train_images), context.spec.seed, augment=False)
    seed, progress = context.spec.seed, context.watch_stop
    return score(model, comb.record, data, [name], settings.score_batches, seed, loss=task.loss, progress=progress)[
        name
    ]
