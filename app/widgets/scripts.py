"""What the browser does by itself: charts that can be saved, a field that is ready to be typed into, keys in order, and
to say when the theme is another one.

One script on the page looks after all charts, wherever they are drawn: no chart costs a widget, and saving one costs no
rerun. Scripts are served from the app's own address, as the content security policy asks for; Streamlit serves files of
installed packages alone, so the app's folder is announced as one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

APP = Path(__file__).resolve().parents[1]
PACKAGE, ASSETS = "cpd", "assets"
SAVING, FOCUS, ORDER, THEME = "saving", "focus", "order", "theme"  # in assets, with .js


def chart_saving() -> None:
    """A quiet menu in the corner of every chart: PNG, SVG, CSV. Draw it once on a page; it shows nothing by itself."""
    _script(SAVING)


def focus() -> None:
    """The first field of the dialog that it is drawn in is ready to be typed into."""
    _script(FOCUS)


def undo_in_order() -> None:
    """Undo waits for an edit that the table is about to tell of. Draw it once on a page with a table to type into."""
    _script(ORDER)


def theme_following(dark: bool) -> None:
    """Draw everything anew when the viewer's theme changes: charts take their colours from the server. Once on a page.

    Args:
        dark: what this run of the page draws for.
    """
    _script(THEME, data={"dark": dark}, on_changed_change=lambda: None)


def _script(name: str, **more: Any) -> None:
    known = get_bidi_component_manager()
    if known.get(f"{PACKAGE}.{name}") is None:
        known.register_from_manifest(ComponentManifest(PACKAGE, "1", [ComponentConfig(each, ASSETS) for each in (SAVING, FOCUS, ORDER, THEME)]), APP)
    st.components.v2.component(f"{PACKAGE}.{name}", js=f"{name}.js")(key=f"script.{name}", height=0, **more)
