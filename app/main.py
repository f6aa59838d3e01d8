"""The frame of the app: the screens and the open project. Nothing else is drawn here."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import state, steps
from app.security import LOOPBACK
from app.widgets.scripts import chart_saving, theme_following
from app.widgets.sidebar import sidebar
from cpd import access
from cpd.errors import CpdError

HERE = Path(__file__).resolve().parent
PAGES, ASSETS = HERE.parent / "pages", HERE / "assets"

st.set_page_config(page_title="CPD Studio", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
if not access.is_shared() and st.get_option("server.address") not in LOOPBACK:
    st.error("This server can be reached by others, and nobody would be asked who they are: start it with ./run.sh, and share it "
             "with ./run.sh --share, as docs/sharing.md explains.", icon=":material/lock:")  # fmt: skip
    st.stop()
st.html(ASSETS / "look.css")
state.keep_project_in_address()
page = st.navigation(
    [
        st.Page(PAGES / f"{name}.py", title=steps.TITLES[name], icon=steps.ICONS[name], url_path=name, default=name == "start",
                help=steps.PURPOSE[name])
        for name in steps.PAGES
    ],
    position="hidden" if state.is_presenting() else "sidebar",
)  # fmt: skip
try:
    access.require_look()
    theme_following(state.is_dark())
    if not state.is_presenting():
        sidebar(page.url_path or "start")
        with st.sidebar:
            chart_saving()
    page.run()
except CpdError as error:  # a full disk, a damaged file: said where the page would have been
    st.error(str(error), icon=":material/error:")
