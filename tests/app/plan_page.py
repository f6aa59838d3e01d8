"""What tests of the Plan screen do with it: read its tiles, type into its table, and look at what it saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import synthetic
from streamlit.proto.WidgetStates_pb2 import WidgetStates

from cpd.comb.record import CombRecord
from cpd.prune.plan import Plan
from cpd.runs.project import Project, project_folder

A, B, C, D = (group.name for group in synthetic.chain().groups)


def known(home: Path, made: Project, record: CombRecord) -> Path:
    """The project with a latency profile and a finished scan of its sensitivity."""
    folder = project_folder(home, made.id)
    synthetic.latency_table(record).save(folder / "latency.json")
    synthetic.sensitivity_table(record).save(folder / "sensitivity.json")
    return folder


def texts(at, *kinds: str) -> str:
    """Everything that these kinds of elements say."""
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def metric(at, label: str):
    return next(element for element in at.metric if element.label.startswith(label))


def saved(home: Path, project) -> Plan:
    return Plan.load(project_folder(home, project.id) / "plan.json")


def edit(at, *rows: tuple[int, dict[str, object]]):
    """What the browser sends when cells are typed: everything since the table was begun, row by row."""
    return send(at, table(at), dict(rows))


def table(at) -> str:
    """The identity of the table that is shown."""
    return str(at.data_editor[0].proto.id)


def send(at, table: str, rows: Mapping[int, Mapping[str, object]], *buttons: str, buttons_first: bool = True):
    """One message of the browser: all edits of a table that it shows, and buttons pressed since its last message.
    AppTest has no call for either, so the message is made here: assigning the session key would not run the callback."""
    states = WidgetStates()
    pressed = [(at.button(key=key).proto.id, {"trigger_value": True}) for key in buttons]
    typed = [(table, {"string_value": json.dumps({"edited_rows": rows, "added_rows": [], "deleted_rows": []})})]
    for id_, value in pressed + typed if buttons_first else typed + pressed:
        states.widgets.add(id=id_, **value)
    return at._run(states)


def select(at, *names: str):
    """What brushing the chart leaves; AppTest has no mouse."""
    at.session_state["plan.selected"] = frozenset(names)
    return at.run()


def click(at, chart: str, name: str):
    """What the browser sends when a point of a chart is clicked whose custom data begin with `name`."""
    found = next(each.proto.id for each in at.get("plotly_chart") if each.proto.id.endswith(f"-{chart}"))
    states = WidgetStates()
    point = {"curve_number": 0, "point_number": 0, "point_index": 0, "x": 0, "y": 0, "customdata": [name]}
    states.widgets.add(id=found, string_value=json.dumps({"selection": {"points": [point], "point_indices": [0], "box": [], "lasso": []}}))
    return at._run(states)
