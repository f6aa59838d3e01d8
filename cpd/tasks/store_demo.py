"""Store a trained demo: `python -m cpd.tasks.store_demo digits-cnn RUN_DIR` after `python -m cpd train ... --out RUN_DIR`.

Halves the weights to float16, reads the file back, and prints the metric of what was read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from cpd.errors import CpdError, StorageError
from cpd.measure.accuracy import accuracy
from cpd.models import load_model
from cpd.models.weights import read_tensors
from cpd.tasks import load_task
from cpd.tasks.demos import DEMOS, Demo


def store(demo: Demo, run_dir: Path) -> float:
    """Write the demo's weights from a finished training run; the metric (0..1) of the file.

    Raises:
        ModelError: the run holds no weights, or those of another architecture.
        StorageError: the file cannot be written.
    """
    tensors = read_tensors(run_dir / "bundle" / "model.safetensors")
    # Running variances below float16's smallest normal number would come back as zero; none of these are.
    small = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        save_file(small, demo.weights)
    except OSError as error:
        raise StorageError(f"{demo.weights}: cannot write the weights ({error.strerror}).") from error
    model, inputs = load_model(demo.model, demo.weights, demo.settings)
    return accuracy(model, load_task(demo.data, inputs, demo.model))


def main(arguments: list[str]) -> int:
    demos = {demo.id: demo for demo in DEMOS}
    if len(arguments) != 2 or arguments[0] not in demos:
        print(f"usage: python -m cpd.tasks.store_demo {{{','.join(demos)}}} RUN_DIR", file=sys.stderr)
        return 2
    demo = demos[arguments[0]]
    try:
        value = store(demo, Path(arguments[1]))
    except CpdError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{demo.weights}: {demo.weights.stat().st_size / 1e6:.2f} MB, {value:.2%} right as stored")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
