"""The charts of a report as plain plotly figures (dictionaries): light paper, one meaning a colour, no toolbar needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cpd.measure.answers import Difference
from cpd.measure.measurement import Latency
from cpd.prune.plan import Plan
from cpd.report.colours import CUT, GRID, INK, KEPT, LOCKED, STUDENT
from cpd.runs.store import Event, Series

Figure = dict[str, Any]


def figure(data: list[dict[str, Any]], x: str, y: str, height: int = 300, **layout: Any) -> Figure:
    """Traces in the house style; `layout` goes on top of it, one level deep."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True}
    base: dict[str, Any] = {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 30, "b": 40},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 12},
        "xaxis": {**axis, "showgrid": False, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
        "showlegend": len(data) > 1,
    }
    for name, value in layout.items():
        base[name] = {**base[name], **value} if isinstance(value, dict) and isinstance(base.get(name), dict) else value
    return {"data": data, "layout": base}


def widths(plan: Plan, locked: frozenset[str] = frozenset()) -> Figure:
    """Units of every group in the order of the network: what stays, and what went, stacked."""
    rows = plan.groups
    numbers = list(range(1, len(rows) + 1))
    kept = [len(row.keep) for row in rows]
    hover = [f"{row.group}<br>{len(row.keep)} of {row.width} stay" for row in rows]
    bars = [
        {"type": "bar", "name": "kept", "x": numbers, "y": kept, "hovertext": hover, "hoverinfo": "text",
         "marker": {"color": [LOCKED if row.group in locked else KEPT for row in rows]}},
        {"type": "bar", "name": "removed", "x": numbers, "y": [row.width - k for row, k in zip(rows, kept, strict=True)],
         "hovertext": hover, "hoverinfo": "text", "marker": {"color": CUT, "opacity": 0.45}},
    ]  # fmt: skip
    return figure(bars, "group, from the input to the output", "channels or units", barmode="stack", bargap=0.15)


def learning(metrics: Mapping[str, Series], metric: str, noun: str, events: Sequence[Event]) -> Figure | None:
    """The metric over the steps of the run, the teacher's line, and what share of the work is left; None without evaluations."""
    found = metrics.get(f"val/{metric}")
    if found is None or not found.steps:
        return None
    data: list[dict[str, Any]] = []
    cost = metrics.get("cost/macs")
    if cost is not None and cost.steps:
        data.append(
            {"type": "scatter", "mode": "lines", "name": "work left per image", "x": list(cost.steps), "y": list(cost.values), "yaxis": "y2",
             "line": {"color": CUT, "width": 1.5, "shape": "hv", "dash": "dot"}}
        )  # fmt: skip
    teacher = metrics.get(f"teacher/{metric}")
    if teacher is not None and teacher.values:
        ends = [min(found.steps), max(found.steps)]
        data.append({"type": "scatter", "mode": "lines", "name": "original network", "x": ends, "y": [teacher.values[-1]] * 2,
                     "line": {"color": INK, "width": 1.5, "dash": "dash"}})  # fmt: skip
    data.append({"type": "scatter", "mode": "lines+markers", "name": "pruned network", "x": list(found.steps), "y": list(found.values),
                 "line": {"color": STUDENT, "width": 2}, "marker": {"size": 5}})  # fmt: skip
    cuts = sorted({event.step for event in events if event.kind == "cut"})
    marks = [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": step,
            "x1": step,
            "y0": 0,
            "y1": 0.03,
            "line": {"color": CUT, "width": 1},
        }
        for step in cuts[:400]
    ]
    second = {
        "overlaying": "y",
        "side": "right",
        "range": [0, 1.05],
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "tickformat": ".0%",
        "title": {"text": "work left"},
        "showgrid": False,
    }
    return figure(
        data,
        "training step",
        noun,
        yaxis={"tickformat": ".0%"},
        yaxis2=second,
        shapes=marks,
        margin={"l": 60, "r": 60, "t": 30, "b": 40},
    )


def speed(both: Sequence[tuple[Latency, Latency]]) -> Figure:
    """Dense beside pruned: milliseconds per image at every batch size, with the middle eight of ten passes as error bars."""
    # Medians are below the axis: a bar may be too low for words, and the thin line goes through it.
    names = [
        f"{'one image' if a.batch == 1 else f'batch of {a.batch}'}<br>{a.median_ms / a.batch:.2f} → {b.median_ms / b.batch:.2f} ms"
        for a, b in both
    ]

    def bars(name: str, rows: Sequence[Latency], colour: str) -> dict[str, Any]:
        value = [row.median_ms / row.batch for row in rows]
        return {
            "type": "bar", "name": name, "x": names, "y": value, "marker": {"color": colour},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.2, "color": LOCKED,
                        "array": [(row.p90_ms - row.median_ms) / row.batch for row in rows],
                        "arrayminus": [(row.median_ms - row.p10_ms) / row.batch for row in rows]},
        }  # fmt: skip

    return figure(
        [bars("original", [row for row, _ in both], "#B9BBC6"), bars("pruned", [row for _, row in both], STUDENT)],
        "",
        "ms per image",
        barmode="group",
        bargap=0.35,
        margin={"l": 60, "r": 20, "t": 30, "b": 52},
    )


def per_class(rows: Sequence[tuple[str, Difference]], noun: str) -> Figure:
    """Change of every class in points, with its interval; classes that clearly lost in the colour of a loss."""
    rows = sorted(rows, key=lambda row: row[1].value)[:40]
    colours = [CUT if d.high < 0 else STUDENT if d.low > 0 else LOCKED for _, d in rows]
    bars = {
        "type": "scatter", "mode": "markers", "meta": {"y": "class"}, "y": [name for name, _ in rows], "x": [100 * d.value for _, d in rows],
        "marker": {"color": colours, "size": 9},
        "error_x": {"type": "data", "symmetric": False, "thickness": 1.2, "width": 0, "color": LOCKED,
                    "array": [100 * (d.high - d.value) for _, d in rows], "arrayminus": [100 * (d.value - d.low) for _, d in rows]},
        "hovertemplate": "%{y}: %{x:+.1f} points<extra></extra>",
    }  # fmt: skip
    height = max(220, 26 * len(rows) + 90)
    return figure([bars], f"change in {noun}, percentage points", "", height=height, xaxis={"zeroline": True, "zerolinecolor": INK},
                  yaxis={"type": "category", "title": {"text": ""}})  # fmt: skip
