"""What is looked at first is drawn first: charts and tables come a moment after the figures that changed above them."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

HEAD_START_S = 0.08


def drawn_first(key: str, figures: Any) -> None:
    """Give the browser time to draw `figures`, which have been sent, where they have changed since the last time: what
    arrives at once is drawn at once, and a chart and a table take it longer than everything else together.

    Args:
        key: of the session, under which the figures of before are kept.
    """
    known = st.session_state.get(key)
    st.session_state[key] = figures
    if known is not None and known != figures:
        time.sleep(HEAD_START_S)
