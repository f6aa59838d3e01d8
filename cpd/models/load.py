"""Which source a SPEC names, and the steps that all sources share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cpd.errors import ModelError
from cpd.models import SPEC_FORMS
from cpd.models.example import is_batch_of_images

Loaded = tuple[nn.Module, tuple[Tensor, ...]]


def build(spec: str, settings: dict[str, Any], pretrained: bool = False, seed: int = 0) -> Loaded:
    """The dense architecture of a SPEC, its weights initial or pretrained, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, inputs = _build(spec, settings, pretrained)
    return module.eval(), inputs


def _build(spec: str, settings: dict[str, Any], pretrained: bool) -> Loaded:
    source, colon, name = spec.partition(":")
    if source == "timm" and colon:
        from cpd.models.zoo import build_timm

        return build_timm(name, settings, pretrained)
    if source == "smp" and colon:
        from cpd.models.zoo import build_smp

        return build_smp(name, settings, pretrained)
    path, colon, name = spec.rpartition(":")
    if colon and path.endswith(".py"):
        from cpd.models.factory import build_factory

        if pretrained:
            raise ModelError(f"{spec}: no pretrained weights are known for a model of your own; give a weights file.")
        return build_factory(Path(path), name, settings)
    if spec.endswith(".py"):
        raise ModelError(f"{spec}: name the function or class that makes the model, e.g. {spec}:Net.")
    raise ModelError(f"{spec!r} is neither a file nor a model's name; give {SPEC_FORMS}.{_hint(spec)}")


def load(spec: str, weights: str, settings: dict[str, Any], pretrained: bool, seed: int) -> Loaded:
    """See `cpd.load_model`."""
    from cpd.models.bundle import bundle_file, load_bundle, restore

    if not spec.startswith(("timm:", "smp:")) and (Path(spec).is_dir() or Path(spec).is_file()):
        if weights:
            raise ModelError(f"{spec}: a bundle brings its own weights; leave out {weights}.")
        return load_bundle(bundle_file(Path(spec)), settings)
    module, inputs = build(spec, settings, pretrained and not weights, seed)
    if weights:
        file = bundle_file(Path(weights)) if Path(weights).is_dir() else Path(weights)
        module = restore(module, inputs, file, spec)
    return module, inputs


def check_runs(module: nn.Module, inputs: tuple[Tensor, ...], spec: str) -> None:
    """Run the model once where its example is a guess of ours.

    Raises:
        ModelError: with the model's own words.
    """
    try:
        with torch.inference_mode():
            module(*inputs)
    except Exception as error:  # whatever a user's forward raises is the user's to read
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        way = "--set img_size=N --set in_chans=N" if is_batch_of_images(inputs) else "example inputs that fit"
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{spec}: does not run on inputs of shape {shapes} ({line[:200]}). Give {way}.") from error


def _hint(spec: str) -> str:
    if not spec.isidentifier() and not spec.replace(".", "_").isidentifier():
        return ""
    from cpd.models.zoo import is_timm_name

    return f" Did you mean timm:{spec}?" if is_timm_name(spec) else ""
