"""From a module to a pruned module: our time and memory beside Torch-Pruning's, on models that both handle.

Every figure is one fresh process on one thread, in CPU seconds, which other work on the machine does not lengthen:
imports and building the model are left out, reading it, planning ratio 0.5 of everything and cutting are in. Ours is
measured cold (nothing cached) and warm (the architecture was combed before: trace and groups are on disk). `--growth`
draws how the cold time grows with the number of operators, resnet18 to resnet152 and vit_tiny to vit_large, untrained.
Bars: in the median cold at most 3 times Torch-Pruning's time and warm at most 0.2 times it, growth at most linear in the
number of operators.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench

MODELS = (
    "resnet18",
    "resnet50",
    "densenet121",
    "convnext_atto",
    "mobilenetv3_small_050",
    "regnetx_002",
    "deit_tiny_patch16_224",
)
QUICK = ("resnet18", "convnext_atto", "deit_tiny_patch16_224")
GROWTH = {
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "vit": ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224"),
}
COLD, WARM, LINEAR = 3.0, 0.2, 1.1


def ours(name: str) -> dict[str, Any]:
    import torch
    import torch.export._trace  # lazily loaded by the first export

    import cpd
    import cpd.comb.comb
    import cpd.prune.surgery

    torch.set_num_threads(1)
    model, inputs = cpd.load_model(f"timm:{name}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    comb = cpd.comb(model, inputs)
    middle = time.process_time()
    pruned = cpd.prune(model, comb, cpd.uniform_plan(comb, ratio=0.5))
    end = time.process_time()
    operators = sum(node.op == "call_function" for node in comb.trace.graph.nodes)
    return _row(model, pruned, end - start, before) | {"comb_s": middle - start, "operators": operators}


def theirs(name: str) -> dict[str, Any]:
    import torch
    import torch_pruning as tp

    import cpd

    torch.set_num_threads(1)
    model, inputs = cpd.load_model(f"timm:{name}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    heads = {m.qkv: m.num_heads for m in model.modules() if hasattr(m, "qkv") and hasattr(m, "num_heads")}
    for module in heads:
        module_of = next(m for m in model.modules() if getattr(m, "qkv", None) is module)
        module_of.fused_attn = False  # its graph does not know the fused kernel
        module_of.forward = _attention_of_any_width.__get__(module_of)
    pruner = tp.pruner.MetaPruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[model.get_classifier()],
        num_heads=heads,
        prune_num_heads=bool(heads),
        head_pruning_ratio=0.5 if heads else 0.0,
    )
    pruner.step()
    end = time.process_time()
    for module in model.modules():
        if getattr(module, "qkv", None) in pruner.num_heads:
            module.num_heads = pruner.num_heads[module.qkv]
    model(*inputs)
    dense, _ = cpd.load_model(f"timm:{name}")
    return _row(dense, model, end - start, before)


def _attention_of_any_width(self: Any, x: Any, attn_mask: Any = None, **_: Any) -> Any:
    """timm's attention with widths read off its layers: Torch-Pruning's published recipe patches forward like this."""
    b, n, _c = x.shape
    qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
    return self.proj(y.transpose(1, 2).reshape(b, n, -1))


def _row(dense: Any, pruned: Any, seconds: float, before_kib: int) -> dict[str, Any]:
    kept = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in dense.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "kept": kept, "added_mib": (peak - before_kib) / 1024}


def apart(which: str, name: str, cache: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", which, name], capture_output=True, text=True, timeout=600,
        env=os.environ | {"CPD_CACHE": cache},
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return {"error": reason[:120]}
    row: dict[str, Any] = json.loads(lines[-1])
    return row


def best(which: str, name: str, repeats: int, fresh: bool) -> dict[str, Any]:
    """The fastest of several processes; a shared machine is slower now and then, never faster."""
    rows = []
    with tempfile.TemporaryDirectory() as kept:
        if not fresh:
            apart(which, name, kept)
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                rows.append(apart(which, name, empty if fresh else kept))
    good = [row for row in rows if "error" not in row]
    return min(good, key=lambda row: row["seconds"]) if good else rows[0]


def growth(repeats: int, picture: Path | None) -> tuple[dict[str, Any], float]:
    """Cold seconds against operators, and the steepest exponent of a power law through a family's points."""
    import numpy as np
    import plotly.graph_objects as go

    figure, rows, steepest = go.Figure(), {}, 0.0
    for family, names in GROWTH.items():
        points = [best("ours", name, repeats, fresh=True) for name in names]
        x, y = [p["operators"] for p in points], [p["seconds"] for p in points]
        if len(set(x)) > 2:
            steepest = max(steepest, float(np.polyfit(np.log(x), np.log(y), 1)[0]))
        rows[family] = [{"model": n, **p} for n, p in zip(names, points, strict=True)]
        figure.add_scatter(x=x, y=y, text=list(names), mode="lines+markers", name=family)
    figure.update_layout(xaxis_title="Operators in the graph", yaxis_title="Seconds from module to pruned module")
    if picture:
        figure.write_html(picture, include_plotlyjs=True)
    return rows, steepest


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--growth", action="store_true", help="also measure how time grows with depth and width")
    parser.add_argument("--picture", type=Path, help="write the growth as a plot (HTML)")
    parser.add_argument("--one", nargs=2, help="measure one model in this process: ours|theirs MODEL")
    arguments = parser.parse_args()
    if arguments.one:
        which, name = arguments.one
        print(json.dumps(ours(name) if which == "ours" else theirs(name)))
        return 0
    repeats = 1 if arguments.quick else 3
    rows = []
    for name in QUICK if arguments.quick else MODELS:
        row = {"model": name, "cold": best("ours", name, repeats, True), "warm": best("ours", name, repeats, False)}
        rows.append(row | {"theirs": best("theirs", name, repeats, True)})
    head = (
        "model",
        "ours cold s",
        "ours warm s",
        "Torch-Pruning s",
        "cold / theirs",
        "warm / theirs",
        "MiB ours, theirs",
        "kept ours, theirs",
    )
    bench.table(head, [_texts(row) for row in rows])
    both = [r for r in rows if "error" not in r["theirs"]]
    cold = statistics.median(r["cold"]["seconds"] / r["theirs"]["seconds"] for r in both) if both else math.inf
    warm = statistics.median(r["warm"]["seconds"] / r["theirs"]["seconds"] for r in both) if both else math.inf
    saved = statistics.median(r["warm"]["seconds"] / r["cold"]["seconds"] for r in rows)
    result: dict[str, Any] = {"rows": rows, "cold_over_theirs": cold, "warm_over_theirs": warm, "warm_over_cold": saved}
    figure = f"Median: cold {cold:.2f}x and warm {warm:.2f}x Torch-Pruning's time, warm {saved:.2f}x our own cold time."
    holds = cold <= COLD and warm <= WARM
    if arguments.growth:
        result["growth"], steepest = growth(repeats, arguments.picture)
        result["exponent"] = steepest
        figure += f" Time grows with operators to the power {steepest:.2f}."
        holds = holds and steepest <= LINEAR
    return bench.end(arguments, result, figure, holds)


def _texts(row: dict[str, Any]) -> list[str]:
    cold, warm, other = row["cold"], row["warm"], row["theirs"]
    if "error" in other:
        return [row["model"], f"{cold['seconds']:.2f}", f"{warm['seconds']:.2f}", other["error"], "", "", f"{cold['added_mib']:.0f}", f"{cold['kept']:.3f}"]  # fmt: skip
    return [
        row["model"], f"{cold['seconds']:.2f}", f"{warm['seconds']:.2f}", f"{other['seconds']:.2f}",
        f"{cold['seconds'] / other['seconds']:.2f}x", f"{warm['seconds'] / other['seconds']:.2f}x",
        f"{cold['added_mib']:.0f}, {other['added_mib']:.0f}", f"{cold['kept']:.3f}, {other['kept']:.3f}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
