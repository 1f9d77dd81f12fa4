/* Pictures by hand: choosing many, looking closely; and those that did not come are asked for again. */
(() => {
  const { local, send, dialog, chooseClass } = studio;

  // ---- choosing many

  const chosen = new Set();
  let anchor = null;

  function paint() {
    const bar = document.querySelector(".choice");
    document.querySelectorAll(".shot [role=checkbox]").forEach((box) => box.setAttribute("aria-checked", chosen.has(box.dataset.id)));
    if (!bar) return;
    bar.hidden = !chosen.size;
    bar.querySelector(".n").textContent = `${chosen.size} chosen`;
  }

  function boxes() {
    return [...document.querySelectorAll(".shot [role=checkbox]")];
  }

  let shift = false;
  document.addEventListener("click", (event) => (shift = event.shiftKey), true);

  local.choose = (element) => {
    const { id } = element.dataset;
    const all = boxes();
    const from = all.findIndex((box) => box.dataset.id === anchor);
    const to = all.indexOf(element);
    if (shift && from >= 0) all.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((box) => chosen.add(box.dataset.id));
    else if (!chosen.delete(id)) chosen.add(id);
    anchor = id;
    paint();
  };
  local["select-page"] = () => {
    const all = boxes().map((box) => box.dataset.id);
    const every = all.every((id) => chosen.has(id));
    all.forEach((id) => (every ? chosen.delete(id) : chosen.add(id)));
    paint();
  };
  local["clear-chosen"] = () => (chosen.clear(), paint());
  local["delete-chosen"] = () => send("images", "delete", { ids: [...chosen] });
  local["move-chosen"] = async () => {
    const answer = await chooseClass("Move to which class?");
    if (answer) send("images", "move", { ids: [...chosen], ...(answer.create ? { create: answer.create } : { to: answer.value }) });
  };
  local["part-chosen"] = (element) => send("images", "part", { ids: [...chosen], part: element.dataset.part });
  studio.onDraw("images", () =>
    setTimeout(() => {
      const here = new Set(boxes().map((box) => box.dataset.id));
      [...chosen].forEach((id) => here.has(id) || chosen.delete(id));
      paint();
    }),
  );
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("input, textarea, dialog") || !chosen.size || !studio.rooms.images?.element.offsetParent) return;
    if (event.key === "Escape") local["clear-chosen"]();
    if (event.key === "Delete") local["delete-chosen"]();
  });

  // ---- pictures that did not come (the server was away for a moment) are asked for again

  const tries = new WeakMap();
  document.addEventListener(
    "error",
    (event) => {
      const image = event.target;
      if (!(image instanceof HTMLImageElement) || !image.src.includes("/media/")) return;
      image.classList.add("missing");
      const count = (tries.get(image) || 0) + 1;
      tries.set(image, count);
      if (count <= 8) setTimeout(() => image.isConnected && (image.src = image.src), 1000 * count);
    },
    true,
  );
  // A picture element that is given another picture shows the old one until the new one is there; it is hidden meanwhile.
  new MutationObserver((changes) => {
    for (const { target } of changes) if (target instanceof HTMLImageElement && !target.complete) target.classList.add("missing");
  }).observe(document.documentElement, { subtree: true, attributeFilter: ["src"] });
  document.addEventListener("load", (event) => event.target instanceof HTMLImageElement && event.target.classList.remove("missing"), true);

  // ---- looking closely

  local.look = (element) => {
    const all = [...(element.closest("[data-room]") || document).querySelectorAll('[data-do="look"]')]; // those beside it, not those of other rooms
    let at = all.indexOf(element);
    dialog.open(
      element.dataset.words,
      (body, close, frame) => {
        const image = dialog.make("img", { alt: "" });
        const show = (step) => {
          at = (at + step + all.length) % all.length;
          image.src = all[at].dataset.src;
          image.alt = all[at].dataset.words;
          frame.querySelector("h2").textContent = all[at].dataset.words;
        };
        const turn = (name, label, step) =>
          dialog.make("button", { type: "button", class: `b icon turn ${name}`, ariaLabel: label, innerHTML: dialog.icon(name), onclick: () => show(step) });
        body.append(image);
        if (all.length > 1) body.append(turn("chevron-left", "Previous picture", -1), turn("chevron-right", "Next picture", 1));
        frame.onkeydown = (event) => {
          if (event.key === "ArrowLeft") show(-1);
          if (event.key === "ArrowRight") show(1);
        };
        show(0);
      },
      "look",
    );
  };
})();
