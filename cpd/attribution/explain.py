"""The verb: explain the dense model's answers to some images, in it and in the model pruned from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.fx import GraphModule

from cpd.attribution.choose import choose, fetch, look
from cpd.attribution.layer import find_place
from cpd.attribution.maps import STEPS, heat_map
from cpd.attribution.methods import check_methods
from cpd.attribution.record import DENSE, INDEX, PRUNED, Attribution, Explained, save_arrays
from cpd.attribution.scores import answer_of, raw_scores, target_of
from cpd.comb.comb import Comb
from cpd.tasks.task import Task

LOOK = 256  # held-out images that are compared to choose from

Progress = Callable[[int, int], None]
Norm = tuple[Sequence[float], Sequence[float]]  # mean and deviation of pixels 0..1, per channel


def explain(
    comb: Comb,
    networks: Mapping[str, GraphModule],
    task: Task,
    folder: Path,
    methods: Sequence[str] = ("gradcam", "integrated"),
    images: int = 12,
    wanted: Sequence[int] = (),
    compared: str = "",
    plan: str = "",
    norm: Norm = ((0.5,), (0.25,)),
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Attribution:
    """Explain images one after another; the index in `folder` is written anew after each, so a screen can follow.

    Args:
        networks: by name, cut from `comb`, in eval mode on one device: "dense", which removes nothing, and "pruned" or not.
        images: how many to choose; `wanted` are numbers of images that must be among them.
        compared, plan: kept in the index, see `Attribution`.
        norm: what the images were normalised with, to show them again.
        progress: told (steps done, steps in all); may raise to stop.
    """
    methods = check_methods(methods)
    start = time.perf_counter()
    say = progress or (lambda done, total: None)
    dense = networks[DENSE]
    device = next(dense.parameters()).device
    looked = look(
        dense,
        networks.get(PRUNED),
        task,
        max([LOOK, *(number + 1 for number in wanted)]),
        lambda done, total: say(0, images + 1),
    )
    numbers = choose(looked, images, wanted)
    pictures = fetch(task, numbers)
    (folder / INDEX).unlink(missing_ok=True)  # it would speak of images that are about to be written over
    found = Attribution(
        comb.model,
        compared,
        plan,
        tuple(task.classes),
        tuple(methods),
        "",
        len(looked.labels),
        looked.count,
        (),
        0.0,
        False,
    )
    found.save(folder)
    place = None
    for done, number in enumerate(numbers):
        say(done + 1, len(numbers) + 1)
        image, label = pictures[number][0].to(device), pictures[number][1]
        with torch.no_grad():
            outputs = {name: raw_scores(network, image) for name, network in networks.items()}
        target, pixels = target_of(outputs[DENSE])
        place = place or find_place(comb, dense, image, target, pixels)
        arrays: dict[str, npt.NDArray[np.generic]] = {"image": picture(image, norm)}
        gaps: dict[str, float] = {}
        for method in methods:
            for name, network in networks.items():
                if method == "gradcam" and place is None:
                    continue
                spread = heat_map(method, network, image, target, pixels, place, steps)
                arrays[f"{method}.{name}"] = spread.values
                if spread.gap is not None:
                    gaps[f"{method}.{name}"] = spread.gap
        save_arrays(folder, number, arrays)
        share = 1.0 if pixels is None else float(pixels.float().mean())
        answers = {name: answer_of(values, target, pixels) for name, values in outputs.items()}
        one = Explained(number, int(label) if label.ndim == 0 else -1, target, share, answers, gaps)
        found = replace(
            found,
            images=(*found.images, one),
            layer=place.in_words if place else "",
            seconds=time.perf_counter() - start,
            done=done + 1 == len(numbers),
        )
        found.save(folder)
    return found


def picture(image: Tensor, norm: Norm) -> npt.NDArray[np.uint8]:
    """A normalised image (1, C, H, W) as (H, W, C) bytes to be looked at, C of 1 or 3.

    Grey images are stretched to the full range; data sets of their own normalise as they like, and only shape counts.
    """
    pixels = image[0].detach().float().cpu()
    if pixels.shape[0] != 3:
        pixels = pixels[:1]
        pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-6)
    else:
        mean, deviation = (torch.tensor(list(values)).view(-1, 1, 1) for values in norm)
        pixels = pixels * deviation + mean
    return np.asarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy(), np.uint8)
