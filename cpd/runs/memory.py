"""What becomes of a run that ran out of memory: it goes on once with half as many images at a time."""

from __future__ import annotations

from dataclasses import replace

from cpd.runs.crew import processes
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec

MOST_HALVINGS = 1


def halved(run: Run) -> str:
    """What to say when the run goes on with half as many images at a time; "" where that is not possible."""
    if run.halvings >= MOST_HALVINGS:
        return ""
    before, after = _images(_thinner(run.spec, run.halvings)), _images(_thinner(run.spec, run.halvings + 1))
    if not before or after >= before:
        return ""
    return (
        f"{_where(run.spec)} ran out of memory with {before} images at a time; the run goes on from its last checkpoint "
        f"with {after} at a time and gradients added up, so that a step still sees as many images"
    )


def out_of_memory(run: Run) -> str:
    """Why a run failed that ran out of memory and cannot be helped."""
    again = f", also with only {_images(spec_of(run))} images at a time" if run.halvings else ""
    return f"{_where(run.spec)} ran out of memory{again}; use a smaller batch size, then resume the run."


def spec_of(run: Run) -> RunSpec:
    """What a worker is to do now: the run's specification, in smaller parts where memory has run out before."""
    return _thinner(run.spec, run.halvings)


def _thinner(spec: RunSpec, halvings: int) -> RunSpec:
    batch, parts = _share(spec), spec.options.get("accumulate", 1)
    if not batch or not isinstance(parts, int) or not halvings:
        return spec
    # The parts of a batch are equally large, so their number divides it.
    wanted = min(batch, parts * 2**halvings)
    parts = next(n for n in range(wanted, batch + 1) if batch % n == 0)
    return replace(spec, options={**spec.options, "accumulate": parts})


def _images(spec: RunSpec) -> int:
    batch, parts = _share(spec), spec.options.get("accumulate", 1)
    return batch // parts if isinstance(parts, int) else 0


def _share(spec: RunSpec) -> int:
    """Images of a step that one process sees."""
    batch = spec.options.get("batch_size")
    return batch // processes(spec.options) if isinstance(batch, int) else 0


def _where(spec: RunSpec) -> str:
    return "This machine" if spec.device == "cpu" else f"Device {spec.device}"
