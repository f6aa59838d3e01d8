"""The picture of the model as an SVG file: vectors for a paper or a slide, drawn without a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from app import palette
from app.charts.architecture import COLOURS, CUT_OPACITY, GONE, NAMES, SELECTED, X, Y, bars, parts
from app.layers import LOCKED, PRUNABLE, Layer

WIDTH, HEIGHT = 1200, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 16, 72, 96


def architecture_svg(
    layers: Sequence[Layer], states: Mapping[str, str], selected: str = "", kept: Sequence[int] | None = None, *, title: str = ""
) -> str:
    """The bars of `architecture`, on white, as an SVG document; one <rect class="layer"> a layer."""
    drawn = bars(layers, states, selected, kept)
    ink, line = palette.ink(False), palette.grid(False)
    plot_w, plot_h = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = plot_w / max(len(drawn), 1)
    ticks = axis_ticks(max((layer.width for layer in layers), default=1))
    floor = _TOP + plot_h

    def height(width: float) -> float:
        return plot_h * width / ticks[-1]

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{ink}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#FFFFFF"/>',
        f'<text x="{_LEFT}" y="28" font-size="17" font-weight="600">{escape(title)}</text>',
    ]
    for tick in ticks:
        y = floor - height(tick)
        out.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{line}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>')
    gap = 0.18 * step if len(drawn) < 120 else 0.0
    for bar in drawn:
        x, w = _LEFT + bar.at * step + gap / 2, step - gap
        top = floor - height(bar.kept)
        words = f"{bar.layer.module}: {bar.layer.width}" + (f" → {bar.kept}" if bar.kept < bar.layer.width else "")
        out.append(
            f'<rect class="layer" x="{x:.2f}" y="{top:.2f}" width="{w:.2f}" height="{height(bar.kept):.2f}" fill="{COLOURS[bar.kind]}">'
            f"<title>{escape(words)}</title></rect>"
        )
        if bar.kept < bar.layer.width:
            gone = height(bar.layer.width - bar.kept)
            out.append(
                f'<rect class="cut" x="{x:.2f}" y="{top - gone:.2f}" width="{w:.2f}" height="{gone:.2f}" fill="{palette.CUT}" '
                f'fill-opacity="{CUT_OPACITY}"/>'
            )
    out += _sections(layers, step, floor, line)
    out += _legend([kind for kind in (PRUNABLE, LOCKED, SELECTED) if any(bar.kind == kind for bar in drawn)], any(b.kept < b.layer.width for b in drawn))
    middle = _TOP + plot_h / 2
    out.append(f'<text x="{_LEFT + plot_w / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{X}</text>')
    out.append(f'<text x="18" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 18 {middle:.0f})">{Y}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def axis_ticks(top: int) -> list[int]:
    """Round numbers from 0 up to the first that is not below `top`, five steps or so."""
    rough = max(top, 1) / 4
    size = 10 ** (len(str(int(rough))) - 1)
    step = next((m * size for m in (1, 2, 5, 10) if m * size >= rough), 10 * size)
    return list(range(0, (-(-top // step)) * step + 1, step)) if top else [0, 1]


def _sections(layers: Sequence[Layer], step: float, floor: float, line: str) -> list[str]:
    found = parts(layers)
    shown = found[:: max(1, round(len(found) / 24))]
    out = []
    for part in found[1:]:
        x = _LEFT + part.first * step
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}" stroke="{line}"/>')
    for part in shown:
        x = _LEFT + (part.first + part.last + 1) / 2 * step
        turn = f' transform="rotate(-40 {x:.1f} {floor + 18})" text-anchor="end"' if len(found) > 9 else ' text-anchor="middle"'
        out.append(f'<text x="{x:.1f}" y="{floor + 18}"{turn}>{escape(part.name)}</text>')
    return out


def _legend(kinds: Sequence[str], cut: bool) -> list[str]:
    entries = [(NAMES[kind], COLOURS[kind], 1.0) for kind in kinds] + ([(GONE, palette.CUT, CUT_OPACITY)] if cut else [])
    out, x = [], float(_LEFT)
    for name, colour, opacity in entries:
        out.append(f'<rect x="{x:.0f}" y="43" width="13" height="13" fill="{colour}" fill-opacity="{opacity}"/>')
        out.append(f'<text x="{x + 19:.0f}" y="54">{name}</text>')
        x += 40 + 7.2 * len(name)
    return out
