/* Dialogs and menus, made when they are needed and gone afterwards. Focus goes in, Escape leaves, focus comes back. */
(() => {
  const icon = (name, size = 16) =>
    `<svg class="i" width="${size}" height="${size}" aria-hidden="true"><use href="/studio/icons.svg#${name}"></use></svg>`;

  function make(tag, properties = {}, ...children) {
    const { class: kind, data, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    if (kind) element.className = kind;
    Object.assign(element.dataset, data || {});
    element.append(...children);
    return element;
  }

  /** A dialog with a heading and whatever `fill(body, close)` puts into it; resolves with what `close` was given. */
  function open(title, fill, kind = "") {
    return new Promise((resolve) => {
      const before = document.activeElement;
      const heading = make("h2", { textContent: title, id: "dialog-title" });
      const shut = make("button", { type: "button", class: "b icon quiet", ariaLabel: "Close", innerHTML: icon("x") });
      const body = make("div", { class: "body" });
      const dialog = make("dialog", { class: `dialog ${kind}` }, make("header", {}, heading, shut), body);
      dialog.setAttribute("aria-labelledby", "dialog-title");
      let answer = null;
      const close = (value = null) => {
        answer = value;
        dialog.close();
      };
      shut.onclick = () => close();
      dialog.addEventListener("close", () => {
        dialog.remove();
        if (before?.isConnected) before.focus({ preventScroll: true });
        resolve(answer);
      });
      dialog.addEventListener("mousedown", (event) => event.target === dialog && close());
      document.body.append(dialog);
      fill(body, close, dialog);
      dialog.showModal();
      (dialog.querySelector("[autofocus]") || body.querySelector("input, button"))?.focus();
    });
  }

  /** Ask for a line of text; null when the person changed their mind. */
  function ask({ title, label, value = "", ok = "OK", hint = "", most = 200 }) {
    return open(title, (body, close) => {
      const input = make("input", { type: "text", name: "value", value, required: true, maxLength: most, autocomplete: "off" });
      input.setAttribute("autofocus", "");
      const form = make(
        "form",
        { method: "dialog" },
        make("label", { class: "field" }, make("span", { textContent: label }), input),
        ...(hint ? [make("p", { class: "hint", textContent: hint })] : []),
        make(
          "footer",
          {},
          make("button", { type: "button", class: "b", textContent: "Cancel", onclick: () => close() }),
          make("button", { type: "submit", class: "b primary", textContent: ok }),
        ),
      );
      form.onsubmit = (event) => {
        event.preventDefault();
        if (input.value.trim()) close(input.value.trim());
      };
      body.append(form);
      setTimeout(() => input.select());
    });
  }

  /** Choose one of `options` ([value, text, detail]), or type a new name where `create` names the act of it. */
  function choose({ title, options, create = "", hint = "" }) {
    return open(
      title,
      (body, close) => {
        const list = make("div", { class: "options", role: "listbox" });
        const many = options.length > 7 || create;
        const input = make("input", { type: "text", placeholder: create ? "Search, or type a new name" : "Search", autocomplete: "off" });
        input.setAttribute("aria-label", input.placeholder);
        input.setAttribute("autofocus", "");
        const draw = () => {
          const wanted = input.value.trim();
          const key = wanted.toLocaleLowerCase();
          const fitting = options.filter(([, text]) => text.toLocaleLowerCase().includes(key));
          const rows = fitting.slice(0, 200).map(([value, text, detail]) =>
            make(
              "button",
              { type: "button", class: "option", role: "option", onclick: () => close({ value }) },
              make("span", { textContent: text }),
              make("small", { textContent: detail ?? "" }),
            ),
          );
          const exact = options.some(([, text]) => text.toLocaleLowerCase() === key);
          if (create && wanted && !exact) {
            const made = make("button", { type: "button", class: "option new", onclick: () => close({ create: wanted }) });
            made.innerHTML = icon("plus");
            made.append(make("span", { textContent: `${create} “${wanted}”` }));
            rows.push(made);
          }
          if (!rows.length) rows.push(make("p", { class: "hint", textContent: create ? "Type a name for the new class." : "Nothing fits." }));
          list.replaceChildren(...rows);
        };
        input.oninput = draw;
        input.onkeydown = (event) => {
          if (event.isComposing || event.keyCode === 229) return; // this key belongs to what writes Japanese or Chinese
          if (event.key === "Enter") {
            event.preventDefault();
            list.querySelector("button")?.click();
          } else if (event.key === "ArrowDown") {
            event.preventDefault();
            list.querySelector("button")?.focus();
          }
        };
        list.onkeydown = (event) => {
          const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
          if (!step) return;
          event.preventDefault();
          (document.activeElement[step] || input).focus();
        };
        if (hint) body.append(make("p", { class: "hint", textContent: hint }));
        if (many) body.append(input);
        body.append(list);
        draw();
      },
      "narrow",
    );
  }

  /** A menu at `anchor`: entries of [icon, text, call], null for a line, false for none. */
  function menu(anchor, entries) {
    document.querySelector(".menu")?.remove();
    const element = make("div", { class: "menu", role: "menu" });
    element.setAttribute("popover", "auto");
    for (const entry of entries.filter((given) => given !== false)) {
      if (!entry) {
        element.append(make("hr"));
        continue;
      }
      const [name, text, call, tone = ""] = entry;
      const row = make("button", { type: "button", class: tone, role: "menuitem" });
      row.innerHTML = icon(name);
      row.append(make("span", { textContent: text }));
      row.onclick = () => {
        element.hidePopover();
        call();
      };
      element.append(row);
    }
    element.addEventListener("toggle", (event) => {
      if (event.newState !== "closed") return;
      element.remove();
      if (document.activeElement === document.body && anchor.isConnected) anchor.focus();
    });
    element.onkeydown = (event) => {
      const rows = [...element.querySelectorAll("button")];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      rows[(rows.indexOf(document.activeElement) + step + rows.length) % rows.length].focus();
    };
    document.body.append(element);
    element.showPopover();
    const box = anchor.getBoundingClientRect();
    const size = element.getBoundingClientRect();
    const below = box.bottom + 4 + size.height < innerHeight;
    element.style.top = `${Math.max(8, below ? box.bottom + 4 : box.top - size.height - 4)}px`;
    element.style.left = `${Math.max(8, Math.min(box.right - size.width, innerWidth - size.width - 8))}px`;
    element.querySelector("button")?.focus();
  }

  studio.dialog = { open, ask, choose, menu, make, icon };
})();
