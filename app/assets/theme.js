// Charts are drawn for light or for dark by the server, which hears of another theme with the next rerun only: ask for one.
const APP = "[data-testid=stApp]";
let asked = null; // once for each change: a browser that says something else than it shows must not be asked for ever

export default function start({ parentElement, data, setTriggerValue }) {
  const slot = (parentElement.getRootNode().host ?? parentElement).closest("[data-testid=stElementContainer]");
  if (slot) slot.style.display = "none"; // it has nothing to show
  const page = document.querySelector(APP);
  const look = () => {
    const dark = isDark(page);
    if (dark === data.dark) asked = null;
    else if (asked !== dark) setTriggerValue("changed", (asked = dark) ? "dark" : "light");
  };
  const watch = new MutationObserver(look); // a theme is a class of the whole page
  watch.observe(page, { attributes: true, attributeFilter: ["class", "style"] });
  look();
  return () => watch.disconnect();
}

/** Whether the page is drawn on dark paper. */
function isDark(page) {
  const [red, green, blue] = getComputedStyle(page).backgroundColor.match(/[\d.]+/g).map(Number);
  return red + green + blue < 384;
}
