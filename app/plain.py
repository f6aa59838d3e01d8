"""Text from data (class names, model names) as text: what markdown would take for marks is shown as it is."""

from __future__ import annotations

import re

_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:])")


def plain(text: str) -> str:
    """`text` for a markdown element, in one line."""
    return _MARKS.sub(r"\\\1", re.sub(r"[\r\n]+", " ", text))
