"""The sensitivity scan on a page: its settings, its progress, and the panel that fills while it runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import engine, state, who
from app.numbers import plural
from app.widgets import chrome
from app.widgets.jobs import last_failure, progress_line
from app.widgets.sensed import findings
from cpd.errors import CpdError
from cpd.importance.registry import CRITERIA
from cpd.runs.control import resume
from cpd.runs.project import Project
from cpd.runs.shared_scan import NODES
from cpd.runs.sound import is_cluster
from cpd.runs.store import Run
from cpd.sensitivity.settings import SenseSettings
from cpd.sensitivity.table import SensitivityTable

KIND = ("sense",)
ERROR = "sense.error"
TICK_S = 2.0  # three charts and a table are drawn anew at every tick
STEPS = (5, 10, 20)  # equal parts of a group's width
DEFAULT = 10


def start(project: Project) -> None:
    """Queue the scan as the form says; what does not fit is said on the page."""
    steps = int(st.session_state.get("sense.steps") or DEFAULT)
    options = {
        "ratios": [round(i / steps, 4) for i in range(1, steps)],
        "images": int(st.session_state["sense.images"]),
        "tolerance": st.session_state["sense.tolerance"] / 100,
        "floor": None if st.session_state["sense.floor"] is None else st.session_state["sense.floor"] / 100,
        "criterion": st.session_state["sense.criterion"],
        "batch": int(st.session_state["sense.batch"]),
    }
    nodes = int(st.session_state.get("sense.nodes") or 1)
    ask(engine.submit, project, "sense", options | ({NODES: nodes} if nodes > 1 and is_cluster(state.workspace()) else {}))


def ask(action: Any, *values: Any) -> None:
    try:
        action(*values)
    except CpdError as error:
        st.session_state[ERROR] = str(error)


def chooser(project: Project, comb: state.Combed, first: bool) -> None:
    """What to scan, how finely and on how much data; every setting explains itself."""
    keep: dict[str, Any] = {"persist_state": "session"}
    default = SenseSettings()
    scored = list(state.scores(project, comb))
    st.session_state.setdefault("sense.criterion", next((name for name in ("fisher", "taylor") if name in scored), default.criterion))
    with st.container(border=True):
        a, b, c, d, e, f, go = st.columns([10, 8, 8, 8, 12, 8, 9], gap="small", vertical_alignment="bottom")
        a.segmented_control("Steps", list(STEPS), default=DEFAULT, key="sense.steps", required=True, width="stretch", **keep,
                            help="Into how many equal parts the way from whole to nothing is divided, for every group; widths are rounded to "
                            "legal ones.")  # fmt: skip
        b.number_input("Images", 0, 1_000_000, default.images, 64, key="sense.images", **keep,
                       help="Held-out images at the most, chosen at random; 0 for all. A width that is clear early uses fewer.")  # fmt: skip
        c.number_input("Precise to, pts", 0.0, 20.0, 100 * default.tolerance, 0.5, key="sense.tolerance", format="%g", **keep,
                       help="A width needs no more images once the metric is known this well (half of a 90 % interval). 0 uses all images "
                       "everywhere.")  # fmt: skip
        d.number_input("Floor, %", 0.0, 100.0, None, 1.0, key="sense.floor", format="%g", placeholder="half of dense", **keep,
                       help="A group is not cut any further once the metric is below this: narrower cuts would tell nothing new.")  # fmt: skip
        e.selectbox("Units go by", list(CRITERIA), key="sense.criterion", format_func=lambda name: CRITERIA[name].title, **keep,
                    help="Which units of a group go first. " + chrome.TERMS["criterion"])  # fmt: skip
        f.number_input("Batch timed", 0, 1024, default.batch, 1, key="sense.batch", **keep,
                       help="Batch size at which every cut is timed; 0 leaves time out. Time falls in stairs, and where they are depends on it.")  # fmt: skip
        go.button("Scan" if first else "Scan again", type="primary" if first else "secondary", icon=":material/ssid_chart:", key="sense.go", width="stretch",
                  on_click=start, args=(project,), disabled=not project.data or who.looks_on())  # fmt: skip
        if is_cluster(state.workspace()):
            st.number_input("Nodes that share the scan", 1, 64, 1, key="sense.nodes", width=220, **keep,
                            help="Workers on so many nodes of the cluster, as they come free: each takes the next group that nobody has.")  # fmt: skip
        if not project.data:
            st.caption(":material/info: This project has no data, so there is no accuracy to measure; name data on the Start screen.")
    if ERROR in st.session_state:
        st.error(st.session_state.pop(ERROR), icon=":material/error:")


def under_way(run: Run) -> None:
    """Progress, and the way to stop."""
    with st.container(border=True):
        left, right = st.columns([6, 1], vertical_alignment="center")
        with left:
            progress_line(run)
        right.button("Stop", icon=":material/stop:", key="sense.stop", width="stretch", disabled=run.state == "stopping" or who.looks_on(), on_click=ask,
                     args=(engine.stop, run.id), help="What was measured stays, and the scan can go on from there.")  # fmt: skip


def interrupted(project: Project, table: SensitivityTable) -> None:
    """A scan that ended before its last group: how far it got, and the way on."""
    run = engine.latest(project, "sense")
    last_failure(project, KIND)
    if table.done:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f":material/pause_circle: The scan ended after {plural(len(table.groups), 'group')}; what it measured is below.", width="content")
        if run is not None and run.state in ("stopped", "failed"):
            st.button("Go on", icon=":material/play_arrow:", key="sense.resume", on_click=ask, args=(resume, state.workspace(), run.id), disabled=who.looks_on())


def scan_panel(project: Project, comb: state.Combed) -> None:
    """Everything below the settings, drawn again every other second while the scan runs; the page reruns when it ends."""
    running = bool(engine.active(project, KIND))

    @st.fragment(run_every=TICK_S if running else None, key=f"sense.panel.{running}")
    def panel() -> None:
        now = engine.active(project, KIND)
        if bool(now) != running:
            st.rerun()
        for run in now:
            under_way(run)
        try:
            table = state.sensitivity(project)
        except CpdError as error:
            st.error(str(error), icon=":material/error:")
            return
        if table is not None and table.model != comb.record.model:
            if not now:
                chrome.note("The scan was made of another comb", "The model has been combed anew since, so its groups are no longer the ones that were "
                            "measured. Scan again; the old table is replaced.", "sync_problem")  # fmt: skip
            table = None
        elif table is None and not now:
            last_failure(project, KIND)
            chrome.note("Nothing has been measured", "The scan cuts one group at a time, at every width, and measures accuracy and latency of what is left: "
                        "a minute or two for the built-in demos. It runs in the background and fills this screen as it goes.", "ssid_chart")  # fmt: skip
        if table is None:
            return
        if not now:
            interrupted(project, table)
        findings(project, comb, table)

    panel()
