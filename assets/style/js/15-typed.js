/* Where a person is in a room stays as it is while the room is drawn anew: the focus, and what is typed and not sent. */
(() => {
  const TEXT = "input:not([type]), input[type=text], input[type=search], input[type=number], textarea";
  let at = null; // what has the focus, or had it when it was taken out of the page

  document.addEventListener("focusin", (event) => (at = event.target));
  document.addEventListener("focusout", (event) => {
    queueMicrotask(() => {
      if (at === event.target && at.isConnected && document.activeElement !== at) at = null;
    });
  });

  /** Keep this from one drawing of a room to the next, from now on. */
  studio.keepTyped = (room) => {
    new MutationObserver((records) => {
      const gone = records.flatMap((record) => [...record.removedNodes]).filter((node) => node.nodeType === Node.ELEMENT_NODE && !node.isConnected);
      const inputs = gone.flatMap((node) => [...(node.matches(TEXT) ? [node] : []), ...node.querySelectorAll(TEXT)]);
      inputs.filter(isUnsent).forEach((input) => {
        const same = twinOf(input, room);
        if (same) putBack(same, input.value);
      });
      if (!at || document.activeElement !== document.body || !gone.some((node) => node.contains(at))) return;
      const same = twinOf(at, room);
      if (!same) return;
      const caret = same.matches(TEXT) && same.type !== "number" ? [at.selectionStart, at.selectionEnd] : null;
      same.focus({ preventScroll: true });
      if (caret) same.setSelectionRange(...caret);
    }).observe(room, { childList: true, subtree: true });
  };

  /** Whether there is text that the server has not been sent. A form with a draft of its own keeps it itself. */
  function isUnsent(input) {
    return input.value !== input.defaultValue && !input.closest("[data-draft]") && (input === at || Boolean(input.closest("form[data-act]")));
  }

  /** The same element in the new drawing: of the same name and data-*, so that what belongs to one project has to say so there. */
  function twinOf(element, room) {
    const mark = markOf(element);
    return [...room.querySelectorAll(element.tagName)].find((one) => markOf(one) === mark);
  }

  function markOf(element) {
    const { view: _view, ...data } = element.dataset;
    const form = element.closest("form");
    const place = form ? [...form.querySelectorAll(element.tagName)].indexOf(element) : 0;
    return JSON.stringify([element.name, data, form?.dataset.act, place]);
  }

  /** Browsers tell of a change only where a key was pressed since the text was put there. */
  function putBack(input, text) {
    input.value = text;
    if (!input.dataset.change) return;
    let told = false;
    const tell = () => {
      if (!told && input.isConnected && input.value !== input.defaultValue) input.dispatchEvent(new Event("change", { bubbles: true }));
    };
    input.addEventListener("change", () => (told = true), { once: true });
    input.addEventListener("blur", () => setTimeout(tell), { once: true });
  }

  // What was sent makes room for the next at once.
  document.addEventListener("submit", (event) => {
    event.target.closest("form[data-act]")?.querySelectorAll(TEXT).forEach((input) => {
      input.sent = input.value;
      input.value = input.defaultValue;
    });
  });

  /** What was refused: a new text comes back to where it was typed, a changed one goes back to what it was. */
  studio.restoreInputs = () => {
    document.querySelectorAll("input[data-change]").forEach((input) => {
      if (input !== document.activeElement) input.value = input.defaultValue;
    });
    document.querySelectorAll("form[data-act] input").forEach((input) => {
      if (input.sent && !input.value) input.value = input.sent;
    });
  };
})();
