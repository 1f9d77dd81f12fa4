/* Classes by hand: new ones, their menu, their order. */
(() => {
  const { local, send, dialog, classes } = studio;

  local["new-class"] = async () => {
    const name = await dialog.ask({ title: "New class", label: "Name", ok: "Add", hint: "The name is read by the model too: “sunflower” helps it more than “class 3”." });
    if (name) send("images", "add-class", { name });
  };

  local["class-menu"] = (element) => {
    const { id, name } = element.dataset;
    const all = classes().map(([key]) => key);
    const at = all.indexOf(id);
    const entries = [
      ["pencil", "Rename", () => document.querySelector(`.class-card[data-key="${id}"] input.name`)?.select()],
      ["image", "View all", () => send("images", "gallery", { class: id })],
      null,
    ];
    if (at > 0) entries.push(["arrow-up", "Move earlier", () => send("images", "place", { id, before: all[at - 1] })]);
    if (at < all.length - 1) entries.push(["arrow-down", "Move later", () => send("images", "place", { id, before: all[at + 2] || "" })]);
    entries.push(null, ["trash-2", `Delete ${name}`, () => send("images", "delete-class", { id }), "danger"]);
    dialog.menu(element, entries);
  };

  let dragged = null;

  // Cards are put into another order by dragging their heading.
  document.addEventListener("pointerdown", (event) => {
    const card = event.target.closest?.(".class-card[data-key]");
    if (card) card.draggable = Boolean(event.target.closest("header")) && !event.target.closest("input:focus, button");
  });
  document.addEventListener("dragstart", (event) => {
    const card = event.target.closest?.(".class-card[data-key]");
    if (!card) return;
    dragged = card;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/x-class", card.dataset.key);
    card.classList.add("lifted");
  });
  document.addEventListener("dragover", (event) => {
    if (!dragged) return;
    const over = event.target.closest?.(".class-card[data-key]");
    document.querySelectorAll(".before, .after").forEach((card) => card.classList.remove("before", "after"));
    if (!over || over === dragged) return;
    event.preventDefault();
    const box = over.getBoundingClientRect();
    over.classList.add(event.clientX < box.left + box.width / 2 ? "before" : "after");
  });
  document.addEventListener("drop", (event) => {
    const over = dragged && event.target.closest?.(".class-card[data-key]");
    if (!over || over === dragged) return;
    event.preventDefault();
    const all = classes().map(([key]) => key);
    const place = all.indexOf(over.dataset.key) + (over.classList.contains("after") ? 1 : 0);
    const before = all.slice(place).find((key) => key !== dragged.dataset.key) || "";
    send("images", "place", { id: dragged.dataset.key, before });
  });
  document.addEventListener("dragend", () => {
    document.querySelectorAll(".before, .after, .lifted").forEach((card) => card.classList.remove("before", "after", "lifted"));
    if (dragged) dragged.draggable = false;
    dragged = null;
  });
})();
