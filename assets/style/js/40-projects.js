/* What a person does with whole projects: names are asked for here, the rest is Python's. */
(() => {
  const { local, send, dialog } = studio;

  local["new-project"] = async () => {
    const name = await dialog.ask({ title: "New project", label: "Name", ok: "Create" });
    if (name) send("rail", "new", { name });
  };

  local["import-project"] = async () => {
    const [file] = await studio.pick({ accept: ".zip", multiple: false });
    if (!file) return;
    const [path] = await studio.upload([file]);
    if (path) send("rail", "import", { file: path });
  };

  local["open-project"] = async () => {
    const rows = [...document.querySelectorAll(".projects .open")];
    if (!rows.length) return local["import-project"]();
    const options = rows.map((row) => [row.dataset.id, row.querySelector(".name").textContent, row.querySelector(".count").textContent]);
    const chosen = await dialog.choose({ title: "Open a project", options: [...options, ["import", "Import an archive…", ""]] });
    if (chosen?.value === "import") local["import-project"]();
    else if (chosen) send("rail", "open", { id: chosen.value });
  };

  local["project-menu"] = (element) => {
    const { id, name } = element.dataset;
    dialog.menu(element, [
      [
        "pencil",
        "Rename…",
        async () => {
          const wanted = await dialog.ask({ title: "Rename the project", label: "Name", value: name, ok: "Rename" });
          if (wanted && wanted !== name) send("rail", "rename", { id, name: wanted });
        },
      ],
      ["copy", "Duplicate", () => send("rail", "duplicate", { id })],
      ["download", "Export as zip", () => send("rail", "export", { id })],
      null,
      ["trash-2", "Move to trash", () => send("rail", "trash", { id, name }), "danger"],
    ]);
  };

  // On narrow screens the sidebar is a drawer behind the bar at the top.
  local.drawer = () => document.body.classList.toggle("drawer");
  local["close-drawer"] = () => document.body.classList.remove("drawer");
  document.addEventListener("keydown", (event) => event.key === "Escape" && local["close-drawer"]());
  document.addEventListener("click", (event) => {
    if (!document.body.classList.contains("drawer")) return;
    if (!event.target.closest("#side, .menu, .dialog, #toasts") || event.target.closest(".projects .open, .pill")) local["close-drawer"]();
  });
})();
