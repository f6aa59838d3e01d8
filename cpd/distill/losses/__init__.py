"""The losses by name. A new one is a file beside this and one row here; listing them costs no torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpd.distill.losses.term import Loss


@dataclass(frozen=True)
class Entry:
    """One loss: where it lives, how a screen names it, and what it compares."""

    name: str
    title: str
    needs_teacher: bool
    home: str  # module:function
    needs_features: bool = False

    def load(self) -> Loss:
        module, _, function = self.home.partition(":")
        loss: Loss = getattr(importlib.import_module(module), function)
        return loss


LOSSES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("task", "Task loss", False, "cpd.distill.losses.task:task"),
        Entry("soft_logits", "Soft logits (Hinton)", True, "cpd.distill.losses.soft_logits:soft_logits"),
        Entry("hard_labels", "Teacher's hard labels (DeiT)", True, "cpd.distill.losses.hard_labels:hard_labels"),
        Entry(
            "features",
            "Features on the kept channels",
            True,
            "cpd.distill.losses.features:features",
            needs_features=True,
        ),
        Entry(
            "attention_transfer",
            "Attention transfer",
            True,
            "cpd.distill.losses.attention_transfer:attention_transfer",
            needs_features=True,
        ),
        Entry(
            "channel_wise",
            "Channel-wise, for segmentation (CWD)",
            True,
            "cpd.distill.losses.channel_wise:channel_wise",
        ),
    )
}
