// Every chart of the app can be saved where it stands: as a picture (PNG, SVG) exactly as it is drawn, or as the table
// (CSV) of what it draws. All of it happens in the browser; the server is not asked.

const MARK = "cpd-save";
const SCALE = 3; // pixels of a PNG for each pixel on screen
const CHART = "[data-testid=stPlotlyChart]";

const STYLE = `
${CHART} { position: relative; }
.${MARK} { position: absolute; top: 0; right: 0; z-index: 5; font-size: 13px; line-height: 1; }
.${MARK} > button { all: unset; box-sizing: border-box; width: 26px; height: 24px; display: grid; place-items: center; border-radius: 6px; cursor: pointer;
  color: inherit; opacity: .38; transition: opacity .15s, background .15s; }
${CHART}:hover .${MARK} > button, .${MARK}[data-open] > button { opacity: .75; }
.${MARK} > button:hover, .${MARK} > button:focus-visible { opacity: 1; background: color-mix(in srgb, currentColor 10%, transparent); }
.${MARK} > button:focus-visible, .${MARK} [role=menuitem]:focus-visible { outline: 2px solid #7565E6; outline-offset: -2px; }
.${MARK} [role=menu] { position: absolute; top: 26px; right: 0; min-width: 148px; padding: 4px; border-radius: 8px; display: none;
  border: 1px solid color-mix(in srgb, currentColor 18%, transparent); box-shadow: 0 6px 20px rgba(0, 0, 0, .18); }
.${MARK}[data-open] [role=menu] { display: block; }
.${MARK} [role=menuitem] { all: unset; box-sizing: border-box; display: flex; justify-content: space-between; gap: 16px; width: 100%; padding: 8px 10px;
  border-radius: 5px; cursor: pointer; }
.${MARK} [role=menuitem] span { opacity: .6; }
.${MARK} [role=menuitem]:hover { background: color-mix(in srgb, currentColor 9%, transparent); }
@media print { .${MARK} { display: none; } }
`;
const ICON =
  '<svg width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">' +
  '<path d="M8 2v8M4.8 7 8 10.2 11.2 7M2.5 13.5h11"/></svg>';
const KINDS = [["PNG", "picture"], ["SVG", "vectors"], ["CSV", "data"]];

export default function start({ parentElement }) {
  const slot = (parentElement.getRootNode().host ?? parentElement).closest("[data-testid=stElementContainer]");
  if (slot) slot.style.display = "none"; // it has nothing to show
  const style = document.createElement("style");
  style.textContent = STYLE;
  document.head.append(style);
  let waiting = 0;
  const look = () => { waiting = 0; document.querySelectorAll(`${CHART}:not(:has(> .${MARK}))`).forEach(equip); };
  const watch = new MutationObserver(() => { waiting ||= setTimeout(look, 150); });
  watch.observe(document.body, { childList: true, subtree: true });
  const outside = event => document.querySelectorAll(`.${MARK}[data-open]`).forEach(menu => menu.contains(event.target) || shut(menu));
  document.addEventListener("pointerdown", outside);
  look();
  return () => {
    watch.disconnect();
    clearTimeout(waiting);
    document.removeEventListener("pointerdown", outside);
    document.querySelectorAll(`.${MARK}`).forEach(node => node.remove());
    style.remove();
  };
}

function shut(menu) {
  delete menu.dataset.open;
  menu.firstChild.setAttribute("aria-expanded", "false");
}

function equip(chart) {
  const menu = document.createElement("div");
  menu.className = MARK;
  menu.innerHTML = `<button type="button" title="Save this chart" aria-label="Save this chart" aria-haspopup="menu" aria-expanded="false">${ICON}</button><div role="menu"></div>`;
  const [button, list] = menu.children;
  for (const [kind, what] of KINDS) {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("role", "menuitem");
    item.innerHTML = `${kind} <span>${what}</span>`;
    item.addEventListener("click", () => { shut(menu); save(chart, kind); });
    list.append(item);
  }
  button.addEventListener("click", () => {
    if ("open" in menu.dataset) return shut(menu);
    const bar = chart.querySelector(".modebar");
    menu.style.right = bar ? `${bar.offsetWidth + 6}px` : "0";
    list.style.background = ground();
    menu.dataset.open = "";
    button.setAttribute("aria-expanded", "true");
    list.firstChild.focus({ focusVisible: false });
  });
  menu.addEventListener("keydown", event => {
    const items = [...list.children], at = items.indexOf(document.activeElement);
    if (event.key === "Escape") { shut(menu); button.focus(); }
    else if (event.key === "ArrowDown") items[(at + 1) % items.length].focus();
    else if (event.key === "ArrowUp") items[(at + items.length - 1) % items.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const bar = chart.querySelector(".modebar");
  if (bar) menu.style.right = `${bar.offsetWidth + 6}px`;
  chart.append(menu);
}

async function save(chart, kind) {
  const plot = chart.querySelector(".js-plotly-plot");
  if (!plot) return;
  const name = fileName(chart);
  if (kind === "CSV") return hand(new Blob([csv(table(plot._fullData, plot.layout))], { type: "text/csv;charset=utf-8" }), `${name}.csv`);
  const vectors = new Blob([drawing(plot, ground())], { type: "image/svg+xml" });
  hand(kind === "SVG" ? vectors : await pixels(vectors, plot), `${name}.${kind.toLowerCase()}`);
}

/** What is behind a chart; a picture must not depend on where it is pasted. */
function ground() {
  return getComputedStyle(document.querySelector("[data-testid=stApp]") || document.body).backgroundColor;
}

function fileName(chart) {
  const said = chart.getAttribute("aria-label") || "chart";
  return said.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60).replace(/^-+|-+$/g, "") || "chart";
}

function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** One SVG document from the layers that plotly stacks: without what follows the pointer, and on a ground of its own. */
export function drawing(plot, paper) {
  const [first, ...above] = plot.querySelectorAll(".main-svg");
  const svg = first.cloneNode(true);
  for (const layer of above) svg.append(...layer.cloneNode(true).childNodes);
  svg.querySelectorAll(".hoverlayer, .draglayer, .zoomlayer, .modebar").forEach(node => node.remove());
  const [width, height] = [first.getAttribute("width"), first.getAttribute("height")];
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({ width, height, fill: paper })) rect.setAttribute(name, value);
  svg.prepend(rect);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("font-family", "Helvetica, Arial, sans-serif");
  svg.removeAttribute("class");
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("xmlns:xlink", "http://www.w3.org/1999/xlink");
  // Clip paths are named with the address of the page where it has a base.
  return new XMLSerializer().serializeToString(svg).replace(/url\((&quot;|['"])?[^)#]*#([^)'"&]+)(&quot;|['"])?\)/g, "url(#$2)");
}

async function pixels(vectors, plot) {
  const address = URL.createObjectURL(vectors);
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    const svg = plot.querySelector(".main-svg");
    [canvas.width, canvas.height] = [SCALE * svg.getAttribute("width"), SCALE * svg.getAttribute("height")];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise(done => canvas.toBlob(done, "image/png"));
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Rows of what is drawn: one a point, one a cell of a heat map; traces that are hidden or mere decoration are left out.
 *
 * Columns carry the titles of the axes. A trace may name its own in `meta`: {series, x, y, z, customdata: [...], color};
 * what is named "" is left out.
 */
export function table(traces, layout) {
  const seen = traces.filter(trace => trace.visible === true || trace.visible === undefined);
  const told = seen.filter(trace => trace.hoverinfo !== "skip" && trace.meta !== "handle"); // what is there to be clicked has nothing to tell
  const several = new Set((told.length ? told : seen).map(trace => trace.name)).size > 1;
  const rows = [];
  for (const trace of told.length ? told : seen) {
    const meta = trace.meta && typeof trace.meta === "object" ? trace.meta : {};
    const title = (axis, letter) => plain(layout[`${letter}axis${(axis || letter).slice(1)}`]?.title?.text);
    const names = {
      series: meta.series ?? "series",
      x: meta.x ?? (title(trace.xaxis, "x") || "x"),
      y: meta.y ?? (title(trace.yaxis, "y") || "y"),
      z: meta.z || plain(trace.colorbar?.title?.text) || trace.name || "value",
    };
    const row = (x, y, data, more = {}) => {
      const found = {};
      if (several && names.series) found[names.series] = plain(trace.name);
      extras(data).forEach((value, i) => {
        const name = meta.customdata?.[i] ?? (i ? `detail ${i + 1}` : "detail");
        if (name) found[name] = value;
      });
      if (names.x) found[names.x] = x;
      if (names.y) found[names.y] = y;
      return Object.assign(found, more);
    };
    if (trace.z) {
      const [xs, ys] = [trace.x, trace.y];
      trace.z.forEach((line, r) => Array.from(line).forEach((value, c) => rows.push(row(place(xs, c, trace.x0, trace.dx), place(ys, r, trace.y0, trace.dy),
        trace.customdata?.[r]?.[c], { [names.z]: value }))));
      continue;
    }
    const size = Math.max(trace.x?.length ?? 0, trace.y?.length ?? 0);
    for (let i = 0; i < size; i++) {
      const [x, y] = [place(trace.x, i), place(trace.y, i)];
      if (x == null || y == null) continue; // a gap between two lines
      const found = row(x, y, trace.customdata?.[i]);
      for (const [letter, name, value] of [["x", names.x, x], ["y", names.y, y]]) {
        const bar = trace[`error_${letter}`];
        if (bar?.visible !== false && bar?.array?.length) {
          found[`${name}, low`] = value - (bar.symmetric ? bar.array : bar.arrayminus)[i];
          found[`${name}, high`] = value + bar.array[i];
        }
      }
      if (meta.color) found[plain(meta.color)] = trace.marker.color[i];
      rows.push(found);
    }
  }
  return rows;
}

const place = (list, i, first = 0, step = 1) => (list ? list[i] : first + i * step);
const extras = data => (data == null ? [] : typeof data === "object" ? Array.from(data) : [data]);
const plain = text => (text || "").replace(/<[^>]*>/g, " ").replace(/\s+/g, " ").trim();

/** RFC 4180; text that a spreadsheet would run as a formula begins with an apostrophe. */
export function csv(rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  const cell = value => {
    if (value == null || Number.isNaN(value)) return "";
    if (typeof value === "number") return String(value);
    const text = plain(String(value)).replace(/^[=+\-@\t]/, "'$&");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map(row => names.map(name => row[name]))].map(line => line.map(cell).join(",")).join("\r\n") + "\r\n";
}
