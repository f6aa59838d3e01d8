// Undo takes back the last edit, also one that the table has not told of yet: it does so 150 ms after the key that made it.
const WAIT = 350; // milliseconds from the last key in the table
const TABLE = "[data-testid=stDataFrame], #portal";
const SILENT = /^(Control|Shift|Alt|Meta|Arrow.*|Escape)$/;

export default function start({ parentElement }) {
  const slot = (parentElement.getRootNode().host ?? parentElement).closest("[data-testid=stElementContainer]");
  if (slot) slot.style.display = "none"; // it has nothing to show
  let edited = -Infinity;
  const listen = event => {
    const steps = event.type === "keydown" && (event.ctrlKey || event.metaKey) && /^[zy]$/i.test(event.key);
    if (!steps) {
      if (!SILENT.test(event.key ?? "") && event.target.closest?.(TABLE)) edited = performance.now();
      return;
    }
    const left = edited + WAIT - performance.now();
    if (left <= 0 || event.target.matches?.("input, textarea")) return; // while a cell is typed into, the key is its own
    event.stopImmediatePropagation();
    event.preventDefault();
    const { key, code, ctrlKey, metaKey, shiftKey } = event;
    const again = { key, code, ctrlKey, metaKey, shiftKey, bubbles: true, cancelable: true };
    setTimeout(() => (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", again)), left);
  };
  for (const kind of ["keydown", "paste"]) window.addEventListener(kind, listen, true);
  return () => ["keydown", "paste"].forEach(kind => window.removeEventListener(kind, listen, true));
}
