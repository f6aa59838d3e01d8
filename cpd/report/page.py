"""A story as one HTML file: no network, one copy of plotly, readable on a phone, and five sheets of A4 when printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from cpd.report.appendix import GLOSSARY, Table
from cpd.report.colours import CUT, GRID, INK, KEPT, PAPER, STUDENT
from cpd.report.story import Number, Step, Story

_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: {PAPER}; color: {INK}; font: 17px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }}
main {{ max-width: 860px; margin: 0 auto; padding: 48px 24px 80px; }}
h1 {{ font-size: 34px; line-height: 1.2; margin: 0 0 6px; font-weight: 650; overflow-wrap: anywhere; }}
h2 {{ font-size: 15px; text-transform: uppercase; letter-spacing: .06em; color: #5B5D6B; margin: 0 0 6px; font-weight: 600; }}
h3 {{ font-size: 17px; margin: 34px 0 8px; }}
.lead {{ font-size: 24px; line-height: 1.35; margin: 0 0 20px; font-weight: 600; }}
.sub {{ color: #5B5D6B; margin: 0 0 40px; }}
section.step {{ padding: 36px 0; border-top: 1px solid {GRID}; }}
.numbers {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 14px; margin: 0 0 20px; padding: 0; }}
.number {{ border: 1px solid {GRID}; border-radius: 10px; padding: 14px 16px; }}
.number dt {{ font-size: 14px; color: #5B5D6B; }}
.number dd {{ margin: 0; }}
.number .value {{ font-size: 27px; font-weight: 650; line-height: 1.25; overflow-wrap: anywhere; }}
.number .about {{ font-size: 13.5px; color: #5B5D6B; }}
.gain .value {{ color: {STUDENT}; }} .loss .value {{ color: {CUT}; }}
figure {{ margin: 22px 0 0; }} figcaption {{ font-size: 14px; color: #5B5D6B; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13.5px; }}
th, td {{ text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid {GRID}; vertical-align: top; overflow-wrap: anywhere; }}
th {{ color: #5B5D6B; font-weight: 600; }} th, td:first-child {{ overflow-wrap: break-word; }}
.scroll {{ overflow-x: auto; }}
.appendix {{ border-top: 3px solid {KEPT}; margin-top: 40px; padding-top: 26px; }}
dl.words dt {{ font-weight: 600; }} dl.words dd {{ margin: 0 0 10px; }}
@media (max-width: 600px) {{ body {{ font-size: 16px; }} h1 {{ font-size: 27px; }} .lead {{ font-size: 20px; }} main {{ padding: 24px 16px 48px; }} .scroll table {{ min-width: 560px; }} }}
@page {{ size: A4; margin: 16mm 15mm; }}
@media print {{
  body {{ font-size: 11pt; }} main {{ max-width: none; padding: 0; }}
  section.step {{ break-inside: avoid; padding: 6mm 0; }}
  .numbers {{ grid-template-columns: repeat(auto-fit, minmax(38mm, 1fr)); gap: 3mm; }} .number .value {{ font-size: 16pt; }}
  .number, figure, tr {{ break-inside: avoid; }} .appendix {{ break-before: page; }} h3 {{ break-after: avoid; }}
  .scroll {{ overflow: visible; }} .scroll table {{ font-size: 8.5pt; min-width: 0; }}
}}
"""

# Figures are drawn once they are near the screen; all of them before printing, at the width of the sheet.
_SCRIPT = """
const draw = node => { if (node.dataset.drawn) return; node.dataset.drawn = 1;
  const figure = JSON.parse(node.querySelector('script').textContent);
  node.querySelector('script').remove();
  const save = format => ({name: format, title: 'Save as ' + format.toUpperCase(), icon: format === 'png' ? Plotly.Icons.camera : Plotly.Icons.disk,
    click: plot => Plotly.downloadImage(plot, {format, scale: format === 'png' ? 3 : 1, filename: (node.getAttribute('aria-label') || 'chart').toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 60)})});
  Plotly.newPlot(node, figure.data, {...figure.layout, autosize: true, modebar: {bgcolor: 'rgba(0,0,0,0)', color: '#9A9CA8', activecolor: '#1C1D26'}}, {displayModeBar: 'hover', displaylogo: false, modeBarButtons: [[save('png'), save('svg')]], responsive: true}); };
const all = [...document.querySelectorAll('.chart')];
if ('IntersectionObserver' in window) {
  const seen = new IntersectionObserver(rows => rows.forEach(row => { if (row.isIntersecting) { seen.unobserve(row.target); draw(row.target); } }), {rootMargin: '600px'});
  all.forEach(node => seen.observe(node));
} else all.forEach(draw);
addEventListener('beforeprint', () => all.forEach(draw));
"""


def page(
    stories: Sequence[Story],
    appendices: Sequence[Sequence[Table]] = (),
    comparison: Table | None = None,
    plotly: str | None = None,
) -> str:
    """The whole file.

    Args:
        stories: one or several; each is told in full.
        appendices: the tables of each story's appendix, in the same order.
        comparison: a table over all of them, shown first.
        plotly: source of plotly.js; None for the one that the package brings.
    """
    if plotly is None:
        from plotly.offline import get_plotlyjs

        plotly = str(get_plotlyjs())
    title = stories[0].title if len(stories) == 1 else f"{len(stories)} pruned networks compared"
    parts = [] if comparison is None else [f"<section class='step'><h2>At a glance</h2>{_table(comparison)}</section>"]
    for number, story in enumerate(stories):
        parts.append(_story(story, several=len(stories) > 1))
        tables = appendices[number] if number < len(appendices) else ()
        if tables:
            parts.append(
                "<div class='appendix'><h1>Appendix: how all this was measured</h1>"
                + "".join(map(_table, tables))
                + "</div>"
            )
    words = "".join(f"<dt>{escape(word)}</dt><dd>{escape(about)}</dd>" for word, about in GLOSSARY.items())
    body = "".join(parts) + f"<div class='appendix'><h1>Words</h1><dl class='words'>{words}</dl></div>"
    head = "" if len(stories) == 1 else f"<h1>{escape(title)}</h1>"
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:\">"
        f"<title>{escape(title)}, pruned</title><style>{_STYLE}</style></head><body><main>{head}{body}</main>"
        f"<script>{plotly}</script><script>{_SCRIPT}</script></body></html>\n"
    )


def _story(story: Story, several: bool) -> str:
    head = f"<h1>{escape(story.title)}</h1><p class='sub'>{escape(story.subtitle)}</p>"
    steps = "".join(_step(i, step) for i, step in enumerate(story.steps, 1))
    return f"<article>{head}{steps}</article>" if several else head + steps


def _step(number: int, step: Step) -> str:
    numbers = "".join(map(_number, step.numbers))
    chart = "" if step.chart is None else _figure(step.chart, step.caption)
    text = "".join(f"<p>{escape(line)}</p>" for line in step.text)
    shown = f"<dl class='numbers'>{numbers}</dl>" if numbers else ""
    return f"<section class='step'><h2>{number} · {escape(step.title)}</h2><p class='lead'>{escape(step.headline)}</p>{shown}{text}{chart}</section>"


def _number(number: Number) -> str:
    about = f"<dd class='about'>{escape(number.about)}</dd>" if number.about else ""
    return f"<div class='number {number.tone}'><dt>{escape(number.label)}</dt><dd class='value'>{escape(number.value)}</dd>{about}</div>"


def _figure(chart: Mapping[str, object], caption: str) -> str:
    height = chart["layout"]["height"]  # type: ignore[index]
    # "</" must not end the script element that holds the data.
    data = json.dumps(chart, allow_nan=False).replace("<", "\\u003c")
    return (
        f"<figure><div class='chart' role='img' aria-label='{escape(caption, quote=True)}' style='height:{height}px'>"
        f"<script type='application/json'>{data}</script></div><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    note = f"<p class='about'>{escape(table.note)}</p>" if table.note else ""
    top = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    return f"<h3>{escape(table.title)}</h3><div class='scroll'><table>{top}<tbody>{rows}</tbody></table></div>{note}"
