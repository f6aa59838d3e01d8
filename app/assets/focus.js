// Who opens a dialog to type is ready to type.
export default function start({ parentElement }) {
  const here = parentElement.getRootNode().host ?? parentElement;
  const slot = here.closest("[data-testid=stElementContainer]");
  if (slot) slot.style.display = "none"; // it has nothing to show
  const timer = setTimeout(() => here.closest("[role=dialog]")?.querySelector("input")?.focus(), 50); // after the dialog has taken the focus itself
  return () => clearTimeout(timer);
}
