"""The comb that several commands begin with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cpd.cli.progress import Bar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cpd.comb.comb import Comb


def comb_model(model: nn.Module, inputs: tuple[Tensor, ...], certify: bool = True, timeout_s: float = 120.0) -> Comb:
    """Comb the model and, unless told otherwise, prove every group on it; groups that fail come back locked."""
    from cpd.comb.certify import certify as prove
    from cpd.comb.comb import comb

    with Bar("combing") as bar:
        if sys.stderr.isatty():
            bar.say("combing ...")
        found = comb(model, inputs, timeout_s)
        return prove(model, inputs, found) if certify else found
