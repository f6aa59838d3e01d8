// Who opens a dialog to type is ready to type.
const PATIENCE = 50; // looks, a tenth of a second apart: on a busy machine a dialog is drawn and takes the focus late

export default function start({ parentElement }) {
  const here = parentElement.getRootNode().host ?? parentElement;
  const slot = here.closest("[data-testid=stElementContainer]");
  if (slot) slot.style.display = "none"; // it has nothing to show
  let looks = 0, held = 0;
  const timer = setInterval(() => {
    const field = here.closest("[role=dialog]")?.querySelector("input");
    held = field && document.activeElement === field ? held + 1 : 0;
    if (field && !held) field.focus();
    if (held > 4 || ++looks > PATIENCE) clearInterval(timer); // it stays
  }, 100);
  return () => clearInterval(timer);
}
