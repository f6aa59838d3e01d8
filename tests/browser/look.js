// What a person would stumble over on a page: text too pale to read, cut off, or wider than the window.

const MAIN = "[data-testid=stMain]";
const BODY = 4.5, LARGE = 3; // least contrast of text, and of large text (WCAG 2.2, 1.4.3)

function look() {
  return [...pale(), ...cut(), ...wide(), ...next()];
}

/** The theme that the page is drawn in; of charts, too, where there are some: their grid is darker or paler than the paper. */
function theme() {
  const page = luminance(colour(getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor)) > 0.5 ? "light" : "dark";
  const said = [...document.querySelectorAll(`${MAIN} .main-svg .xtitle, ${MAIN} .main-svg .ytitle`)].filter(each => each.checkVisibility())
    .map(each => luminance(colour(getComputedStyle(each).fill)) > 0.5 ? "dark" : "light");
  return said.every(each => each === page) ? page : "between";
}

function colour(css) {
  const canvas = (window.lookCanvas ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true }));
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = css;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function luminance([r, g, b]) {
  const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}

const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);

/** What an element's text is drawn on, and how far it is faded. */
function ground(element) {
  const layers = [];
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    opacity *= style.opacity;
    const fill = colour(style.backgroundColor);
    if (fill[3]) layers.push(fill);
    if (fill[3] === 1) break;
  }
  return [layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]), opacity];
}

function* texts() {
  for (const root of document.querySelectorAll(`${MAIN}, [data-testid=stSidebar]`)) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
      if (element.closest("[data-stale=true], svg, canvas, style, code, [data-testid=stIconMaterial], [role=img], [data-testid=stSlider] [role=slider], [data-testid=stSliderThumbValue], [disabled], [aria-disabled=true], [data-testid=stElementToolbar], [role=menu]")) continue;
      const box = element.getBoundingClientRect();
      if (box.width > 1 && box.height > 1) yield [element, walker.currentNode.data.trim()];
    }
  }
}

function pale() {
  const found = new Map();
  for (const [element, text] of texts()) {
    const style = getComputedStyle(element);
    const [below, opacity] = ground(element);
    const ink = colour(style.color);
    const seen = over([...ink.slice(0, 3), ink[3] * opacity], below);
    const [a, b] = [luminance(seen), luminance(below)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? LARGE : BODY;
    if (contrast < least) found.set(`${contrast.toFixed(2)} ${style.color}`, text.slice(0, 40));
  }
  return [...found].map(([contrast, text]) => `too pale (${contrast}): ${text}`);
}

function cut() {
  return [...document.querySelectorAll(`${MAIN} [data-testid=stMetric] *`)]
    .filter(each => getComputedStyle(each).textOverflow === "ellipsis" && each.scrollWidth > each.clientWidth && each.checkVisibility())
    .map(each => `cut off: ${each.innerText}`).filter((text, i, all) => all.indexOf(text) === i);
}

function wide() {
  const main = document.querySelector(MAIN);
  if (main.scrollWidth <= main.clientWidth) return [];
  return [`wider than the window: ${main.scrollWidth} of ${main.clientWidth} px`];
}

/** One thing stands out, and it is what comes next; while something is under way, how far it is. */
function next() {
  const primary = [...document.querySelectorAll(`${MAIN} [data-testid=stBaseButton-primary]`)].filter(each => each.checkVisibility({ checkVisibilityCSS: true }) && each.getBoundingClientRect().height > 1 && !each.closest("details:not([open])"));
  const busy = !!document.querySelector(`${MAIN} [data-testid=stProgress]`);
  const broken = (document.querySelector(MAIN).innerText.match(/Something went wrong on this screen[^.]*\./) || []);
  if (broken.length) return broken;
  return primary.length === 1 || (busy && !primary.length) ? [] : [`${primary.length} next steps: ${primary.map(each => each.innerText.replace(/\s+/g, " ")).join(", ")}`];
}

Object.assign(window, { look, theme });
