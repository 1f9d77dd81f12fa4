/* Copying text: a path, a few lines of code; and the address of this studio in code that calls it. */
(() => {
  studio.local.copy = async (element) => {
    const code = element.closest(".card")?.querySelector("pre.code");
    try {
      await navigator.clipboard.writeText(element.dataset.text || code?.textContent || "");
      studio.toast("Copied.");
    } catch {
      studio.toast("The browser did not let the page write to the clipboard. Select the text and press Ctrl+C.", "warn");
    }
  };
  studio.onDraw("export", (element) =>
    element.querySelectorAll(".origin").forEach((place) => {
      if (place.textContent !== location.origin) place.textContent = location.origin;
    }),
  );
})();
