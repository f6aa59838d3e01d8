"""How long does a sensitivity table take, and is it the same one? The scan beside the plain loop.

The plain loop does for every width of every group what one would write down first: copy the network and cut the copy,
take its batch-norm statistics anew, evaluate every image, time it beside the dense network. Both use the same images,
widths, units and floor. Subjects: the CIFAR ResNet-20 with its photographs (where they are there), and the demo CNN.
Bar: four times as fast by processor time on one thread, and a rank correlation of the two tables of 0.95, on each.
"""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench

BAR, ALIKE = 4.0, 0.95
DATA = bench.ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Subject:
    name: str
    model: str
    weights: Path
    settings: dict[str, Any]
    data: str


def subjects() -> list[Subject]:
    from cpd.tasks.demos import DEMOS

    found = [Subject(demo.id, demo.model, demo.weights, dict(demo.settings), demo.data) for demo in DEMOS]
    if DATA.is_dir():
        file = f"{bench.ROOT}/tests/comb/cifar_resnet.py:resnet20"
        weights = DATA / "weights" / "resnet20-cifar10-jpeg.safetensors"
        found.insert(0, Subject("resnet20", file, weights, {}, f"parquet:{DATA / 'cifar10-jpeg'}"))
    else:
        print(f"{DATA} is not there: the ResNet-20 is left out.")
    return found


class Clock:
    def __enter__(self) -> Clock:
        self._wall, self._processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.processor = time.perf_counter() - self._wall, time.process_time() - self._processor


def plain_loop(model: Any, inputs: Any, comb: Any, task: Any, scores: Any, settings: Any, floor: float | None) -> Any:
    """{(group, units kept): (metric, milliseconds)} by nothing but public verbs; `floor` None: half of the dense metric."""
    import torch

    import cpd
    from cpd.measure.latency import latencies
    from cpd.measure.recalibrate import recalibrate
    from cpd.sensitivity.ladder import ladder
    from cpd.sensitivity.sample import calibration, held_out

    statistics = calibration(task, settings.calibration, 0)
    images = held_out(task, settings.images, 0)

    def metric(network: Any) -> float:
        found = task.metric()
        with torch.no_grad():
            for pictures, targets in images:
                found.update(task.predict(network, pictures), targets)
        return float(found.compute())

    dense = copy.deepcopy(model).eval()
    recalibrate(dense, statistics)
    least = metric(dense) / 2 if floor is None else floor
    table: dict[tuple[str, int], tuple[float, float]] = {}
    for group in comb.groups:
        if not group.prunable:
            continue
        for rung in ladder(comb.record, group, settings.ratios, scores):
            network = cpd.prune(copy.deepcopy(model), comb, rung.plan).eval()
            recalibrate(network, statistics)
            value = metric(network)
            pair = latencies({"dense": dense, "cut": network}, inputs, settings.batch, seconds=settings.latency_s)
            table[group.name, rung.kept] = (value, pair["cut"].median_ms / pair["dense"].median_ms)
            if value < least:
                break
    return table


def measured(subject: Subject, settings: Any) -> dict[str, Any]:
    import numpy as np
    from scipy.stats import spearmanr

    import cpd
    from cpd.importance.scoring import score
    from cpd.sensitivity.scan import scan
    from cpd.tasks import load_task

    model, inputs = cpd.load_model(subject.model, subject.weights, subject.settings)
    model.eval()
    comb = cpd.comb(model, inputs)
    task = load_task(subject.data, inputs, subject.model)
    scores = score(model, comb.record, None, ["l2"])["l2"].groups
    with Clock() as ours:
        table = scan(model, inputs, comb, task, scores, settings)
    with Clock() as plain:
        rows = plain_loop(model, inputs, comb, task, scores, settings, None)
    mine = {(name, p.kept): p for name, group in table.groups.items() for p in group.points[1:]}
    both = [key for key in mine if key in rows]
    values = np.array([(mine[key].value, rows[key][0]) for key in both])
    times = np.array([((mine[key].latency_ms or 0.0) / (table.dense_latency_ms or 1.0), rows[key][1]) for key in both])
    return {
        "subject": subject.name,
        "groups": len(table.groups),
        "points": len(both),
        "only_ours": len(mine) - len(both),
        "only_plain": len(rows) - len(both),
        "images": table.images,
        "mean_images": float(np.mean([mine[key].images for key in both])),
        "plain_s": plain.processor,
        "ours_s": ours.processor,
        "speedup": plain.processor / ours.processor,
        "speedup_by_the_clock": plain.wall / ours.wall,
        "rank_correlation": float(spearmanr(values[:, 0], values[:, 1]).statistic),
        "largest_difference": float(np.abs(values[:, 0] - values[:, 1]).max()),
        "median_difference": float(np.median(np.abs(values[:, 0] - values[:, 1]))),
        "latency_correlation": float(spearmanr(times[:, 0], times[:, 1]).statistic),
        "latency_median_difference": float(np.median(np.abs(times[:, 0] / times[:, 1] - 1))),
    }


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--images", type=int, help="held-out images (default 2048; quick 1536)")
    parser.add_argument("--only", metavar="SUBJECT", nargs="+", help="resnet20, digits-cnn or digits-vit")
    parser.set_defaults(threads=1)
    arguments = parser.parse_args()
    bench.begin(arguments)
    from cpd.sensitivity.settings import SenseSettings

    quick = arguments.quick
    settings = SenseSettings(
        ratios=(0.5, 0.9) if quick else (0.1, 0.3, 0.5, 0.7, 0.9),
        images=arguments.images or (1536 if quick else 2048),
        latency_s=0.0 if quick else 0.2,
        batch=8,
    )
    rows = [
        measured(subject, settings)
        for subject in subjects()
        if subject.name in (arguments.only or ("resnet20", "digits-cnn"))
    ]
    head = ("subject", "groups", "points", "images", "used", "plain s", "ours s", "faster", "by the clock", "rank corr.",
            "largest diff.", "latency diff.")  # fmt: skip
    bench.table(head, [
        (r["subject"], r["groups"], r["points"], r["images"], f"{r['mean_images']:.0f}", f"{r['plain_s']:.0f}", f"{r['ours_s']:.0f}",
         f"{r['speedup']:.1f}x", f"{r['speedup_by_the_clock']:.1f}x", f"{r['rank_correlation']:.3f}",
         f"{r['largest_difference']:.3f}", f"{r['latency_median_difference']:.1%}") for r in rows
    ])  # fmt: skip
    slowest = min(rows, key=lambda r: r["speedup"])
    least = min(r["rank_correlation"] for r in rows)
    figure = (
        f"{slowest['speedup']:.1f} times as fast as the plain loop at the least ({slowest['subject']}), "
        f"rank correlation of the tables {least:.3f} at the least."
    )
    return bench.end(arguments, {"rows": rows}, figure, slowest["speedup"] >= BAR and least >= ALIKE)


if __name__ == "__main__":
    sys.exit(main())
