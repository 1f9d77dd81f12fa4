/* Toasts: Python puts one into the "notice" room; it is shown for a while, longer while the pointer or focus is on it. */
(() => {
  const SECONDS = { "": 7, accent: 5, warn: 10, danger: 14 };
  let shelf;
  const shown = new Set(); // a room may tell the same value twice; the same words said twice have another stamp

  function show(html) {
    shelf ||= document.body.appendChild(Object.assign(document.createElement("div"), { id: "toasts" }));
    const holder = document.createElement("div");
    holder.innerHTML = html;
    const toast = holder.firstElementChild;
    if (!toast || shown.has(toast.dataset.stamp)) return;
    if (toast.dataset.stamp) shown.add(toast.dataset.stamp);
    const close = document.createElement("button");
    close.type = "button";
    close.className = "b icon quiet close";
    close.setAttribute("aria-label", "Close");
    close.innerHTML = '<svg class="i" width="14" height="14" aria-hidden="true"><use href="/studio/icons.svg#x"></use></svg>';
    close.onclick = () => away(toast);
    toast.append(close);
    shelf.append(toast);
    while (shelf.children.length > 3) shelf.firstElementChild.remove();
    const tone = ["accent", "warn", "danger"].find((name) => toast.classList.contains(name)) || "";
    let left = SECONDS[tone] + (toast.querySelector("[data-act]") ? 3 : 0);
    const clock = setInterval(() => {
      if (!toast.matches(":hover, :focus-within") && document.visibilityState === "visible") left -= 0.25;
      if (left <= 0) away(toast);
      if (!toast.isConnected) clearInterval(clock);
    }, 250);
    toast.addEventListener("click", (event) => event.target.closest("[data-act]") && away(toast));
    toast.querySelector("[data-save]")?.click();
    if (tone === "danger") studio.restoreInputs();
  }

  function away(toast) {
    toast.classList.add("leaving");
    setTimeout(() => toast.remove(), 160);
  }

  function text(words, tone = "") {
    const toast = document.createElement("div");
    toast.className = `toast ${tone}`;
    toast.setAttribute("role", tone ? "alert" : "status");
    toast.append(Object.assign(document.createElement("p"), { textContent: words }));
    show(toast.outerHTML);
  }

  // Read from what was sent, not from the page: two toasts in a row would be one there.
  studio.onDraw("notice", (_element, html) => html && show(html));
  studio.toast = text;
})();
