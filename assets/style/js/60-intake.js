/* Bringing pictures in: chosen, dropped, pasted, by zip, folder or table. */
(() => {
  const { local, send, dialog } = studio;
  const isZip = (file) => /\.zip$/i.test(file.name) || file.type === "application/zip";
  const isTable = (file) => /\.(csv|tsv)$/i.test(file.name);
  const root = () => studio.rooms.images?.element.querySelector(".images");
  const isLocal = () => document.querySelector(".brand").dataset.local !== undefined; // paths are those of the person's own machine
  const classes = () => JSON.parse(root()?.dataset.classes || "[]");

  /** Ask for a class; pictures to learn from may be of something else, too. */
  function chooseClass(title, hint = "", part = "") {
    const options = classes().map(([id, name, count]) => [id, name, count.toLocaleString("en")]);
    const other = JSON.parse(root()?.dataset.else || "null");
    if (other && !part) options.push(other);
    if (part) return dialog.choose({ title, options, hint });
    return dialog.choose({ title, options, create: "New class", hint });
  }

  // ---- bringing pictures in

  async function addTo(files, target) {
    const paths = await studio.upload(files);
    if (paths.length) send("images", "add-files", { files: paths, ...target });
  }

  /** Files for a class that is known ({id}), to be asked for (null), or said by the files themselves (zip, table, folders). `part` is
   *  "test" where they are to test with. */
  async function take(entries, target, part = "") {
    const files = entries.map((entry) => entry.file);
    if (!files.length) return;
    const table = files.find(isTable);
    const archive = files.find(isZip);
    if (table || archive) sayLeft(files.filter((file) => file !== table && file !== archive), table || archive);
    if (table) return takeTable(table, archive, part);
    if (archive) {
      const [path] = await studio.upload([archive]);
      if (path) send("images", "import-zip", { file: path, part });
      return;
    }
    // Hidden files go along: the preview names them, like everything else that is left out.
    if (!target && entries.every((entry) => entry.folder)) return takeTree(entries, part);
    const hint = files.length === 1 ? files[0].name : `${files.length} files`;
    const answer = target || (await chooseClass(part ? "Which class do they test?" : "Which class is this?", hint, part));
    if (!answer) return;
    const named = answer.id ? answer : answer.create ? { name: answer.create } : { id: answer.value };
    await addTo(files, { ...named, part });
  }

  /** A zip or a table is imported by itself; what was dropped beside it is not taken, and the person is told. */
  function sayLeft(files, taken) {
    if (!files.length) return;
    const names = files.slice(0, 3).map((file) => file.name).join(", ") + (files.length > 3 ? ` and ${files.length - 3} more` : "");
    studio.toast(`${taken.name} is imported by itself. Not taken: ${names}. Drop them again afterwards.`, "warn");
  }

  async function takeTree(entries, part) {
    const paths = await studio.upload(entries.map((entry) => entry.file));
    if (paths.length) send("images", "import-tree", { files: paths, folders: entries.map((entry) => entry.folder), part });
  }

  async function takeTable(table, archive, part = "") {
    const where = archive ? { archive } : await askTableSource(table);
    if (!where) return;
    const paths = await studio.upload(where.archive ? [table, where.archive] : [table]);
    if (!paths.length) return;
    const source = where.archive ? { archive: paths[1] } : { folder: where.folder };
    send("images", "import-csv", { file: paths[0], ...source, part });
  }

  function askTableSource(table) {
    return dialog.open("Where are the pictures?", (body, close) => {
      body.append(dialog.make("p", { class: "hint", textContent: `${table.name} names pictures by path. Say where those paths begin.` }));
      if (isLocal()) {
        body.append(folderForm("Use this folder", (folder) => close({ folder })), dialog.make("p", { class: "or", textContent: "or" }));
      }
      body.append(
        dialog.make("button", {
          type: "button",
          class: "b",
          textContent: "Choose a zip with the pictures…",
          onclick: async () => {
            const [archive] = await studio.pick({ accept: ".zip", multiple: false });
            if (archive) close({ archive });
          },
        }),
      );
    });
  }

  function folderForm(ok, onFolder) {
    const input = dialog.make("input", { type: "text", placeholder: "/home/me/pictures", required: true, autocomplete: "off", spellcheck: false });
    const form = dialog.make(
      "form",
      { class: "line" },
      dialog.make("label", { class: "field" }, dialog.make("span", { textContent: "Folder on this computer" }), input),
      dialog.make("button", { type: "submit", class: "b primary", textContent: ok }),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      if (input.value.trim()) onFolder(input.value.trim());
    };
    return form;
  }

  local["add-files"] = async (element) => {
    const { id, part } = element.dataset; // now: a drawing may make it another class's button while the person chooses
    const files = await studio.pick();
    take(files.map((file) => ({ file, folder: "" })), { id }, part);
  };

  local["import-menu"] = (element) => {
    const part = element.dataset.part || "";
    dialog.menu(element, [
      [
        "file-archive",
        "Zip with a folder for each class…",
        async () => {
          const [file] = await studio.pick({ accept: ".zip", multiple: false });
          if (file) take([{ file, folder: "" }], null, part);
        },
      ],
      isLocal() && [
        "folder",
        "Folder on this computer…",
        async () => {
          const folder = await dialog.open("Import a folder", (body, close) => {
            const kept = part ? " Only folders named like your classes are taken." : "";
            const words = `It holds one folder of pictures for each class.${kept} Files are copied; yours stay where they are.`;
            body.append(dialog.make("p", { class: "hint", textContent: words }), folderForm("Look inside", close));
          });
          if (folder) send("images", "import-folder", { folder, part });
        },
      ],
      [
        "file-spreadsheet",
        "Table of paths and labels (CSV)…",
        async () => {
          const [file] = await studio.pick({ accept: ".csv,.tsv,text/csv", multiple: false });
          if (file) takeTable(file, null, part);
        },
      ],
    ]);
  };

  // ---- dropping

  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const zoneOf = (event) => event.target.closest?.("[data-drop]");

  function light(zone) {
    document.querySelectorAll(".over-drop").forEach((element) => element !== zone && element.classList.remove("over-drop"));
    zone?.classList.add("over-drop");
  }

  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (!root()) return;
    document.body.classList.add("dropping");
    light(zoneOf(event));
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget) return;
    document.body.classList.remove("dropping");
    light(null);
  });
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    if (event.target.closest?.(".dialog") || !document.body.dataset.project) return event.preventDefault();
    const elsewhere = document.body.dataset.tab && document.body.dataset.tab !== "images";
    if (elsewhere) return event.preventDefault();
    event.preventDefault();
    document.body.classList.remove("dropping");
    const zone = zoneOf(event);
    light(null);
    const { drop: key, part } = zone?.dataset || {}; // now: a drawing may make it another class's place
    take(await studio.dropped(event.dataTransfer), key && key !== "?" ? { id: key } : null, part);
  });

  // ---- pasting

  const named = (blob, number) => new File([blob], blob.name || `pasted-${number + 1}.${blob.type.split("/")[1] || "png"}`, { type: blob.type });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
    if (!files.length || !root() || event.target.closest?.("input, textarea, .dialog")) return;
    if (document.body.dataset.tab && document.body.dataset.tab !== "images") return;
    event.preventDefault();
    const zone = document.querySelector("[data-drop]:hover") || document.activeElement.closest?.("[data-drop]");
    const key = zone?.dataset.drop;
    take(files.map((file, number) => ({ file: named(file, number), folder: "" })), key && key !== "?" ? { id: key } : null, zone?.dataset.part);
  });

  local.paste = async (element) => {
    const { id } = element.dataset;
    try {
      const items = await navigator.clipboard.read();
      const blobs = [];
      for (const item of items) {
        const type = item.types.find((kind) => kind.startsWith("image/"));
        if (type) blobs.push(await item.getType(type));
      }
      if (!blobs.length) return studio.toast("There is no picture on the clipboard. Copy one first.", "warn");
      take(blobs.map((blob, number) => ({ file: named(blob, number), folder: "" })), { id });
    } catch {
      studio.toast("The browser did not let the page read the clipboard. Press Ctrl+V over the card instead.", "warn");
    }
  };

  Object.assign(studio, { classes, chooseClass });
})();
