"""The picture of the model as an SVG file: vectors for a paper or a slide, drawn without a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from app import palette
from app.charts.architecture import COLOURS, CUT_STRENGTH, GONE, NAMES, SELECTED, X, Y, bars, parts
from app.layers import LOCKED, PRUNABLE, Layer

WIDTH, PLOT = 1200, 300  # of the document, and the height of the tallest bars
_LEFT, _RIGHT, _TOP = 74, 16, 72
_TURNED = 9  # sections from which their names are written aslant


def architecture_svg(
    layers: Sequence[Layer], states: Mapping[str, str], selected: str = "", kept: Sequence[int] | None = None, *, title: str = ""
) -> str:
    """The bars of `architecture`, on white, as an SVG document; one <rect class="layer"> a layer."""
    drawn = bars(layers, states, selected, kept)
    ink, line = palette.ink(False), palette.grid(False)
    plot_w, plot_h = WIDTH - _LEFT - _RIGHT, PLOT
    step = plot_w / max(len(drawn), 1)
    pale = palette.on_paper(palette.CUT, CUT_STRENGTH, False)
    ticks = axis_ticks(max((layer.width for layer in layers), default=1))
    floor = _TOP + plot_h
    below = 92 if len(parts(layers)) > _TURNED else 50
    total = floor + below + 14

    def height(width: float) -> float:
        return plot_h * width / ticks[-1]

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{ink}">',
        f'<rect width="{WIDTH}" height="{total}" fill="#FFFFFF"/>',
        f'<text x="{_LEFT}" y="28" font-size="17" font-weight="600">{escape(title)}</text>',
    ]
    for tick in ticks:
        y = floor - height(tick)
        out.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{line}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>')
    out += _sections(layers, step, floor, line)
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
                f'<rect class="cut" x="{x:.2f}" y="{top - gone:.2f}" width="{w:.2f}" height="{gone:.2f}" fill="{pale}"/>'
            )
    kinds = [kind for kind in (PRUNABLE, LOCKED, SELECTED) if any(bar.kind == kind for bar in drawn)]
    out += _legend(kinds, pale if any(bar.kept < bar.layer.width for bar in drawn) else "")
    middle = _TOP + plot_h / 2
    out.append(f'<text x="{_LEFT + plot_w / 2:.0f}" y="{floor + below}" text-anchor="middle">{X}</text>')
    out.append(f'<text x="18" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 18 {middle:.0f})">{Y}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def axis_ticks(top: int) -> list[int]:
    """Round numbers from 0 up to the first that is not below `top`, six at most."""
    top = max(top, 1)
    size = 10 ** (len(str(top // 5)) - 1)
    step = next(m * size // 10 for m in (10, 20, 25, 50, 100) if m * size % 10 == 0 and m * size / 10 >= top / 5)
    return list(range(0, -(-top // step) * step + 1, step))


def _sections(layers: Sequence[Layer], step: float, floor: float, line: str) -> list[str]:
    found = parts(layers)
    shown = found[:: max(1, round(len(found) / 24))]
    out = []
    for part in shown[1:]:
        x = _LEFT + part.first * step
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}" stroke="{line}"/>')
    for part in shown:
        x = _LEFT + (part.first + part.last + 1) / 2 * step
        turn = f' transform="rotate(-40 {x:.1f} {floor + 18})" text-anchor="end"' if len(found) > _TURNED else ' text-anchor="middle"'
        out.append(f'<text x="{x:.1f}" y="{floor + 18}"{turn}>{escape(part.name)}</text>')
    return out


def _legend(kinds: Sequence[str], pale: str) -> list[str]:
    entries = [(NAMES[kind], COLOURS[kind]) for kind in kinds] + ([(GONE, pale)] if pale else [])
    out, x = [], float(_LEFT)
    for name, colour in entries:
        out.append(f'<rect x="{x:.0f}" y="43" width="13" height="13" fill="{colour}"/>')
        out.append(f'<text x="{x + 19:.0f}" y="54">{name}</text>')
        x += 40 + 7.2 * len(name)
    return out
