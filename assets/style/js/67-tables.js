/* Tables whose headings sort, and the dialog for a note on a run. The order is kept while the page redraws the table. */
(() => {
  const { local, send, dialog } = studio;
  const kept = {}; // by the table's class: column and direction

  function value(row, column) {
    const text = row.cells[column]?.dataset.value ?? row.cells[column]?.innerText ?? "";
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text.toLocaleLowerCase();
  }

  function order(table, column, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    });
    table.tBodies[0].append(...rows);
    [...table.tHead.rows[0].cells].forEach((cell, place) => (place === column ? cell.setAttribute("aria-sort", direction) : cell.removeAttribute("aria-sort")));
    kept[table.className] = { column, direction };
  }

  const other = { ascending: "descending", descending: "ascending" };

  local.sort = (element) => {
    const table = element.closest("table");
    const column = Number(element.dataset.column);
    const now = element.closest("th").getAttribute("aria-sort");
    order(table, column, now ? other[now] : element.dataset.first);
  };

  document.addEventListener("change", (event) => {
    const select = event.target.closest?.("[data-sort-by]");
    const table = select?.closest(".card")?.querySelector("table[data-sortable]");
    if (table) order(table, Number(select.value), select.selectedOptions[0].dataset.first);
  });

  studio.onDraw("results", () =>
    setTimeout(() => {
      document.querySelectorAll("table[data-sortable]").forEach((table) => {
        const before = kept[table.className];
        if (!before) return;
        order(table, before.column, before.direction);
        const select = table.closest(".card")?.querySelector("[data-sort-by]");
        if (select) select.value = before.column;
      });
    }),
  );

  local["run-note"] = async (element) => {
    const { run, note, most } = element.dataset;
    const text = await dialog.open("Note on this run", (body, close) => {
      const area = dialog.make("textarea", { name: "note", value: note, rows: 5, maxLength: Number(most) });
      area.setAttribute("autofocus", "");
      const form = dialog.make(
        "form",
        { method: "dialog" },
        dialog.make("label", { class: "field" }, dialog.make("span", { textContent: "What was special about it?" }), area),
        dialog.make(
          "footer",
          {},
          dialog.make("button", { type: "button", class: "b", textContent: "Cancel", onclick: () => close() }),
          dialog.make("button", { type: "submit", class: "b primary", textContent: "Keep" }),
        ),
      );
      form.onsubmit = (event) => {
        event.preventDefault();
        close(area.value);
      };
      body.append(form);
    });
    if (text !== null && text !== note) send("results", "note", { run, text });
  };
})();
