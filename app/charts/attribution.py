"""Heat maps over an image: the image, each network's map on one colour scale, and how they differ."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image

from app import palette

FOR, AGAINST = "#7A68D8", "#B0912F"
Pixels = npt.NDArray[np.uint8]  # (H, W, 1 or 3)
Map = npt.NDArray[np.float32]  # (H, W)
_SIDE = 224  # pixels that small images are enlarged to, without smoothing
_FADED, _FAINT = 0.7, 0.88  # how far the ground of a heat map, and of a difference, goes towards the paper


def heat_maps(
    image: Pixels, maps: Mapping[str, Map], *, signed: bool, difference: str = "", shared: bool = True, height: int = 560, dark: bool = False
) -> go.Figure:
    """The image, each map beside it, and how the second differs from the first; two panels a row.

    Args:
        maps: one or two, by title, of the image's size.
        signed: values below zero speak against the class, in a colour of their own.
        difference: title of a panel that shows the second map less the first; "" for none.
        shared: one colour scale for all panels; else each has its own and says nothing about the others.
    """
    panels: list[tuple[str, Map | None, bool]] = [("the image", None, False), *((title, values, signed) for title, values in maps.items())]
    if difference and len(maps) == 2:
        first, second = maps.values()
        panels.insert(2, (difference, second - first, True))  # below the image, so that both maps stand in one column
    top = reach(list(maps.values()))
    rows = (len(panels) + 1) // 2
    fig = go.Figure()
    ground, faint = (picture(image, paper=palette.paper(dark), faded=part) for part in (_FADED, _FAINT))
    across, down = 0.04, 0.09 / rows
    for number, (title, values, both) in enumerate(panels, 1):
        mark = "" if number == 1 else str(number)
        row, column = divmod(number - 1, 2)
        if rows == 2 and number > 2:
            row, column = 1, number - 3
        wide, tall = (1 - across) / 2, (1 - down * (rows - 1)) / rows
        left, upper = column * (wide + across), 1 - row * (tall + down)
        x, y = f"x{mark}", f"y{mark}"
        fig.add_layout_image(
            source=picture(image) if values is None else faint if title == difference else ground, xref=x, yref=y, x=0, y=0, sizex=image.shape[1], sizey=image.shape[0], sizing="stretch", layer="below"
        )
        if values is None:  # an axis without a trace is not drawn
            fig.add_scatter(x=[None], y=[None], xaxis=x, yaxis=y, hoverinfo="skip")
        else:
            fig.add_trace(_layer(title, values, both, top if shared else reach([values]), x, y, bar=shared and number == len(panels)))
        axis: dict[str, Any] = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "fixedrange": True, "constrain": "domain"}
        fig.update_layout({
            f"xaxis{mark}": axis | {"domain": [left, left + wide], "range": [0, image.shape[1]], "anchor": y},
            f"yaxis{mark}": axis | {"domain": [upper - tall, upper], "range": [image.shape[0], 0], "anchor": x, "scaleanchor": x},
        })  # fmt: skip
        fig.add_annotation(text=title, x=0.5, y=1, xref=f"{x} domain", yref=f"{y} domain", yanchor="bottom", showarrow=False, font={"size": 13})
    return fig.update_layout(
        height=height if rows == 2 else height // 2 + 30, margin={"l": 4, "r": 4, "t": 28, "b": 4}, showlegend=False, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", font={"color": palette.ink(dark), "size": 12}, hoverlabel={"align": "left"},
    )  # fmt: skip


def reach(maps: list[Map]) -> float:
    """The value that gets the full colour: a few pixels may be beyond it, or one of them would fade all others."""
    values = np.abs(np.concatenate([values.reshape(-1) for values in maps])) if maps else np.zeros(1)
    return float(np.quantile(values, 0.995)) or float(values.max()) or 1.0


def _layer(title: str, values: Map, signed: bool, limit: float, x: str, y: str, bar: bool) -> go.Heatmap:
    clear, middle, full = (palette.faded(FOR, opacity) for opacity in (0.0, 0.55, 0.95))
    if signed:
        strong = [(0.0, palette.faded(AGAINST, 0.95)), (0.25, palette.faded(AGAINST, 0.55)), (0.5, clear), (0.75, middle), (1.0, full)]
    else:
        strong = [(0.0, clear), (0.5, middle), (1.0, full)]
    return go.Heatmap(
        name=title, z=np.clip(values, -limit if signed else 0.0, limit), x0=0.5, dx=1, y0=0.5, dy=1, xaxis=x, yaxis=y, zmin=-limit if signed else 0.0, zmax=limit, colorscale=strong,
        showscale=bar, colorbar={"thickness": 10, "lenmode": "pixels", "len": 180, "title": {"text": "for (+)<br>against (−)" if signed else "for", "font": {"size": 11}}},
        hovertemplate="%{z:.3g}<extra></extra>",
    )  # fmt: skip


def picture(image: Pixels, *, paper: str = "", faded: float = _FADED, side: int = _SIDE) -> str:
    """The image as a PNG in a data address; with a paper in grey and `faded` into it, a ground for heat maps."""
    pixels = np.asarray(image, np.float32)
    if paper:
        towards = np.array([int(paper[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        pixels = (1 - faded) * pixels.mean(2, keepdims=True) + faded * towards
    bytes_ = np.clip(pixels, 0, 255).astype(np.uint8)
    found = Image.fromarray(bytes_[:, :, 0] if bytes_.shape[2] == 1 else bytes_)
    times = max(1, side // max(found.size))
    if times > 1:
        found = found.resize((found.width * times, found.height * times), Image.Resampling.NEAREST)
    elif max(found.size) > 2 * side:
        found.thumbnail((2 * side, 2 * side))
    buffer = io.BytesIO()
    found.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
