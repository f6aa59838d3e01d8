"""The training loop against a plain PyTorch loop that does the same arithmetic: images a second of one core.

Student and teacher are the demo CNN; batches, augmentation, optimizer, learning rates and losses (labels and softened
answers) are the same, and so are the losses they come to, which is checked. CPU seconds of one thread between two steps,
rounds of either loop in turn; the figure is the median over rounds of plain seconds over ours. What our loop does beside
(learning-rate schedule, metrics of every step, asking whether to stop) is in its time; evaluations and checkpoints are
not, the plain loop has none.

Rows: a dense student; the student of a pruning run after its cut, a traced network, against the same network in the plain
loop; and, for information, what it brings to keep the teacher's answers where images do not change.
Bar: 0.95 or better in the first two rows.
"""

from __future__ import annotations

import copy
import math
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import bench

BATCH, SKIP = 64, 6  # the first steps warm caches up, and hold the cut


class Clock:
    """A recorder that notes CPU time and loss of every step."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self.losses: dict[int, float] = {}

    def log(self, step: int, values: Any) -> None:
        if "train/loss" in values:
            self.losses[step] = values["train/loss"]

    def event(self, *_: Any, **__: Any) -> None: ...

    def progress(self, step: int, total: int) -> None:
        self.at[step] = time.process_time()

    def should_stop(self) -> bool:
        return False

    def save(self, *_: Any) -> None: ...

    def load(self) -> None: ...


def ours(model: Any, inputs: Any, task: Any, settings: Any, **more: Any) -> tuple[float, Clock]:
    """CPU seconds from step SKIP to the last but one, which is followed by no evaluation."""
    from cpd.distill.trainer import train

    clock = Clock()
    train(model, inputs, task, settings, clock, **more)
    return clock.at[settings.steps - 1] - clock.at[SKIP], clock


def plain(student: Any, teacher: Any, task: Any, settings: Any) -> tuple[float, dict[int, float]]:
    import torch
    from torch.nn import functional

    student, teacher = copy.deepcopy(student).train(), copy.deepcopy(teacher).eval().requires_grad_(False)
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": settings.weight_decay}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    low, total, t = settings.least_lr, settings.steps, settings.temperature
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: low + (1 - low) * (1 + math.cos(math.pi * step / total)) / 2
    )
    losses: dict[int, float] = {}
    step, epoch, began = 0, 0, 0.0
    while step < total:
        for images, targets in task.train_batches(BATCH, settings.seed, epoch, augment=settings.augment):
            outputs = student(images)
            with torch.no_grad():
                taught = teacher(images)
            soft = functional.kl_div(
                functional.log_softmax(outputs / t, 1), functional.log_softmax(taught / t, 1), reduction="batchmean", log_target=True
            )  # fmt: skip
            loss = 0.5 * functional.cross_entropy(outputs, targets) + t * t * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            step += 1
            losses[step] = loss.item()
            if step == SKIP:
                began = time.process_time()
            if step == total - 1:
                return time.process_time() - began, losses
        epoch += 1
    raise AssertionError("unreachable")


def overhead_ms() -> float:
    """CPU milliseconds a step that our loop takes and the plain one does not, on a network that costs next to nothing."""
    import torch
    from torch import nn

    from cpd.distill.settings import TrainSettings
    from cpd.tasks import load_task

    torch.manual_seed(0)
    tiny, task, inputs = (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        load_task("digits", (1, 8, 8)),
        (torch.zeros(2, 1, 8, 8),),
    )
    settings = TrainSettings(
        steps=300, batch_size=BATCH, warmup=0.0, losses={"task": 0.5, "soft_logits": 1.0}, evaluate_every=3000, checkpoint_s=1e9
    )  # fmt: skip
    found = []
    for _ in range(3):
        mine, _ = ours(tiny, inputs, task, settings, teacher=tiny)
        found.append(mine - plain(tiny, tiny, task, settings)[0])
    return 1000 * statistics.median(found) / (settings.steps - 1 - SKIP)


def main() -> int:
    arguments = bench.options(__doc__).parse_args()
    arguments.threads = 1
    bench.begin(arguments)
    import cpd
    from cpd.distill.settings import TrainSettings
    from cpd.prune.plan import uniform_plan
    from cpd.tasks import load_task
    from cpd.tasks.demos import DEMOS

    rounds, steps = (2, 16) if arguments.quick else (12, 90)
    demo = DEMOS[0]
    model, inputs = cpd.load_model(demo.model, demo.weights, dict(demo.settings))
    task = load_task(demo.data, inputs, demo.model)
    comb = cpd.comb(model, inputs)
    plan = uniform_plan(comb, 0.5)
    pruned = cpd.prune(model, comb, plan)
    settings = TrainSettings(
        steps=steps, batch_size=BATCH, warmup=0.0, losses={"task": 0.5, "soft_logits": 1.0}, evaluate_every=10 * steps,
        checkpoint_s=1e9, schedule="one-shot", score_batches=2,
    )  # fmt: skip
    still = replace(settings, augment=False, steps=max(steps, 2 * task.steps(BATCH)))
    seconds: dict[str, list[tuple[float, float]]] = {
        "dense student": [],
        "pruned student": [],
        "teacher's answers kept": [],
    }
    apart = 0.0

    def both(name: str, number: int, how: Any, student: Any, **more: Any) -> tuple[Any, Any]:
        """One round of either loop; who goes first changes, since what else the machine does changes, too."""
        turns = [lambda: ours(model, inputs, task, how, **more), lambda: plain(student, model, task, how)]
        found = [turn() for turn in (turns if number % 2 == 0 else turns[::-1])]
        (mine, clock), (theirs, losses) = found if number % 2 == 0 else found[::-1]
        seconds[name].append((mine, theirs))
        return clock, losses

    for number in range(rounds):
        clock, losses = both("dense student", number, settings, model, teacher=model)
        apart = max([apart, *(abs(clock.losses[s] - value) / value for s, value in losses.items())])
        both("pruned student", number, settings, pruned, comb=comb, plan=plan)
    for number in range(1 if arguments.quick else 3):
        both("teacher's answers kept", number, still, pruned, comb=comb, plan=plan)

    rows, ratios = [], {}
    for name, pairs in seconds.items():
        count = BATCH * ((still if "kept" in name else settings).steps - 1 - SKIP)
        found = sorted(theirs / mine for mine, theirs in pairs)
        ratios[name] = statistics.median(found)
        mine, theirs = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        rows.append(
            [
                name,
                f"{count / mine:.0f}",
                f"{count / theirs:.0f}",
                f"{ratios[name]:.3f}",
                f"{found[0]:.3f} to {found[-1]:.3f}",
            ]
        )
    bench.table(["", "ours, images/CPU s", "plain loop", "ours / plain, median", "rounds"], rows)
    beside = overhead_ms()
    print(f"beside the arithmetic: {beside:.2f} ms of CPU a step (a single linear layer, where little else is left)")
    print(f"largest difference of a step's loss, dense student: {apart:.1e} of its value")
    least = min(ratios["dense student"], ratios["pruned student"])
    figure = (
        f"Our loop runs at {least:.3f} times the speed of a plain PyTorch loop with the same arithmetic (bar 0.95)."
    )
    holds = least >= 0.95 and apart < 1e-2
    return bench.end(
        arguments,
        {"seconds": seconds, "ratios": ratios, "apart": apart, "overhead_ms": beside, "steps": steps, "rounds": rounds},
        figure,
        holds,
    )


if __name__ == "__main__":
    sys.exit(main())
