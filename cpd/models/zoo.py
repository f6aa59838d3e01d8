"""Architectures of the two libraries that users name: timm, and segmentation_models_pytorch where it is installed."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from cpd.errors import ModelError
from cpd.models.example import image_batch, image_size

_SMP_SIZE = 224  # smp's encoders take any multiple of 32


def is_timm_name(name: str) -> bool:
    timm = _timm()
    return bool(timm.is_model(name))


def build_timm(name: str, settings: dict[str, Any], pretrained: bool) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The timm architecture `name`, with example images of the size it was made for."""
    timm = _timm()
    if not timm.is_model(name):
        names = nearest(name.partition(".")[0], timm.list_models())
        raise ModelError(f"timm:{name}: timm {timm.__version__} has no such model. Nearest: {', '.join(names)}.")
    if "img_size" in settings:
        image_size(settings["img_size"])
    try:
        module = _create(timm, name, settings, pretrained)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            f"timm:{name}: cannot fetch the pretrained weights ({_line(error)}); give a weights file."
        ) from error
    except Exception as error:  # timm's builders raise whatever their arguments lead to
        raise ModelError(f"timm:{name}: cannot be built with {_shown(settings)} ({_line(error)}).") from error
    channels, height, width = module.default_cfg.get("input_size") or (3, 224, 224)  # type: ignore[operator,union-attr]
    if "img_size" in settings:
        height, width = image_size(settings["img_size"])
    return module, image_batch(int(settings.get("in_chans", channels)), height, width)


def _create(timm: Any, name: str, settings: dict[str, Any], pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **settings)  # type: ignore[no-any-return]
    except TypeError as error:
        # Most CNNs take any size and so have no such argument; the size is then the example's alone.
        if "img_size" not in settings or "img_size" not in str(error):
            raise
        rest = {key: value for key, value in settings.items() if key != "img_size"}
        return timm.create_model(name, pretrained=pretrained, **rest)  # type: ignore[no-any-return]


def build_smp(name: str, settings: dict[str, Any], pretrained: bool) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The segmentation model `ARCH/ENCODER`."""
    import cpd._torchvision  # noqa: F401  before timm, which smp imports

    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise ModelError(
            f"smp:{name}: segmentation_models_pytorch is not installed; `.venv/bin/pip install segmentation-models-pytorch`."
        )
    smp = importlib.import_module("segmentation_models_pytorch")
    arch, slash, encoder = name.partition("/")
    if not slash:
        raise ModelError(f"smp:{name}: name the encoder as well, e.g. smp:{name}/resnet18.")
    known = {entry.lower(): entry for entry in dir(smp) if isinstance(getattr(smp, entry), type)}
    if arch.lower() not in known:
        raise ModelError(f"smp:{name}: no architecture {arch}. Nearest: {', '.join(nearest(arch, known.values()))}.")
    if not encoder.startswith("tu-") and encoder not in smp.encoders.get_encoder_names():
        names = nearest(encoder, smp.encoders.get_encoder_names())
        raise ModelError(f"smp:{name}: no encoder {encoder}. Nearest: {', '.join(names)}.")
    options = dict(settings)
    height, width = image_size(options.pop("img_size", _SMP_SIZE))
    channels = int(options.pop("in_chans", options.pop("in_channels", 3)))
    if "num_classes" in options:
        options["classes"] = options.pop("num_classes")
    options.setdefault("encoder_weights", "imagenet" if pretrained else None)
    try:
        module: nn.Module = smp.create_model(known[arch.lower()], encoder_name=encoder, in_channels=channels, **options)
    except Exception as error:  # as above
        raise ModelError(f"smp:{name}: cannot be built with {_shown(settings)} ({_line(error)}).") from error
    return module, image_batch(channels, height, width)


def nearest(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that are most like `name`, best first."""
    lower = {entry.lower(): entry for entry in names}
    return [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.0)]


def _timm() -> Any:
    import cpd._torchvision  # noqa: F401  before timm, which imports torchvision

    return importlib.import_module("timm")


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "its defaults"


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
