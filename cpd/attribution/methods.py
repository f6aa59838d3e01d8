"""The methods by name: what a screen says of each. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cpd.errors import PlanError


@dataclass(frozen=True)
class Method:
    """One way to spread an answer over the image.

    Attributes:
        signed: values may be negative, speaking against the class.
        text: how it works and what it costs, in a sentence.
    """

    name: str
    title: str
    signed: bool
    text: str


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradcam",
            "Grad-CAM",
            False,
            "Where the last activation that still lies on a grid speaks for the class; for transformers the tokens, back "
            "on their grid. One pass forward and back.",
        ),
        Method(
            "integrated",
            "Integrated gradients",
            True,
            "Gradients summed along the way from the mean image to this one; the pixels add up to the change of the score, "
            "and how well they do is reported. As many passes as steps.",
        ),
        Method(
            "saliency", "Saliency", False, "Size of the score's gradient at every pixel. One pass forward and back."
        ),
        Method(
            "occlusion",
            "Occlusion",
            True,
            "How much the score falls when a window is covered. No gradients; some hundred passes forward.",
        ),
    )
}


def check_methods(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order given.

    Raises:
        PlanError: a name that is not known, or none at all.
    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in METHODS:
            raise PlanError(f"no attribution method is called {name!r}; there are {', '.join(METHODS)}.")
    if not chosen:
        raise PlanError(f"name at least one attribution method of {', '.join(METHODS)}.")
    return chosen
