"""Every chart can be saved as PNG, SVG or CSV: a quiet menu in its corner, which works in the browser alone.

One component on the page looks after all charts, wherever they are drawn, so that no chart costs a widget and saving
one costs no rerun. Its script is served from the app's own address, as the content security policy asks for; Streamlit
serves files of installed packages alone, so the app's folder is announced as one.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

APP = Path(__file__).resolve().parents[1]
PACKAGE, NAME, SCRIPT = "cpd", "saving", "saving.js"


def chart_saving() -> None:
    """Draw it once on a page; it shows nothing by itself."""
    known = get_bidi_component_manager()
    if known.get(f"{PACKAGE}.{NAME}") is None:
        known.register_from_manifest(ComponentManifest(PACKAGE, "1", [ComponentConfig(NAME, "assets")]), APP)
    st.components.v2.component(f"{PACKAGE}.{NAME}", js=SCRIPT)(key=NAME, height=0)
