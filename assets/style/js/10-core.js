/* The page's side of a conversation: pieces of HTML that Python drew ("rooms") send acts, and get new HTML back.
 *
 * data-act="name"    a press sends {act: name, ...the element's other data-*, view: the room's view} to its room
 * data-do="name"     a press is answered here, by studio.local[name](element, room)
 * data-to="room"     the act goes to another room than the one it is drawn in
 * data-change="name" an input sends its value as the act when it has changed
 */
window.studio = (() => {
  /** What the browser remembers for the page; null where a person lets no site keep anything. */
  function memory(call) {
    try {
      return call(localStorage);
    } catch {
      return null;
    }
  }

  const rooms = {};
  const waiting = {};
  const local = {};
  const watchers = {};

  function attach(name, element, send, watch, props) {
    element.dataset.room = name;
    rooms[name] = { element, send };
    studio.keepTyped(element);
    watch("value", () => (watchers[name] || []).forEach((call) => call(element, props.value)));
    (waiting[name] || []).splice(0).forEach((data) => send(data));
    (watchers[name] || []).forEach((call) => call(element, props.value));
  }

  /** Call `call(element, html)` whenever the room has been given new HTML (which is in the page a moment later). */
  function onDraw(name, call) {
    (watchers[name] ||= []).push(call);
    if (rooms[name]) call(rooms[name].element);
  }

  // The sidebar takes several wishes at once, since some take long; the same one twice in a moment is a double click, or a key held down.
  const AGAIN = 1000; // milliseconds
  let latest = { words: "", at: -AGAIN };
  function isAgain(message) {
    const words = JSON.stringify(message);
    const again = words === latest.words && performance.now() - latest.at < AGAIN;
    latest = { words, at: performance.now() };
    return again;
  }

  function send(room, act, data = {}) {
    const message = { act, ...data };
    if (room === "rail" && isAgain(message)) return;
    if (rooms[room] && rooms[room].element.isConnected) {
      message.view ??= viewOf(rooms[room].element.querySelector("[data-view]"));
      rooms[room].send(message);
    } else (waiting[room] ||= []).push(message);
  }

  function viewOf(element) {
    const holder = element && element.closest("[data-view]");
    return holder ? JSON.parse(holder.dataset.view) : {};
  }

  function fields(element) {
    const { act, do: _do, to, room, view, ...rest } = element.dataset;
    return rest;
  }

  function roomOf(element) {
    return element.dataset.to || element.closest("[data-room]")?.dataset.room;
  }

  function press(element) {
    if (element.disabled || element.getAttribute("aria-disabled") === "true") return;
    if (element.dataset.do) local[element.dataset.do]?.(element, roomOf(element));
    if (element.dataset.act) {
      const data = fields(element);
      const view = element.closest("[data-view]");
      send(roomOf(element), element.dataset.act, view ? { ...data, view: viewOf(view) } : data);
    }
  }

  document.addEventListener("click", (event) => {
    const element = event.target.closest("[data-act], [data-do]");
    if (element && !(element instanceof HTMLFormElement)) press(element);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-act]");
    if (!form) return;
    event.preventDefault();
    send(roomOf(form), form.dataset.act, { ...fields(form), ...Object.fromEntries(new FormData(form)), view: viewOf(form) });
  });

  document.addEventListener("change", (event) => {
    const input = event.target.closest("[data-change]");
    if (!input) return;
    send(roomOf(input), input.dataset.change, { ...fields(input), value: input.value, view: viewOf(input) });
  });

  document.addEventListener("keydown", (event) => {
    const input = event.target.closest?.("input[data-change]");
    if (!input) return;
    if (event.isComposing || event.keyCode === 229) return; // this key belongs to what writes Japanese or Chinese
    if (event.key === "Enter") input.blur();
    if (event.key === "Escape") {
      input.value = input.defaultValue;
      input.blur();
    }
  });

  // ---- address: the page's project and tab are in it, so that a reload and a second page find their own

  const asked = new URLSearchParams(location.search); // as the page was opened; the address changes as tabs are drawn

  function remember(name, value) {
    const url = new URL(location.href);
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  }

  let started = false; // whether the server has said what is open; the tabs report themselves before that
  let touched = false; // whether a person has done anything yet
  for (const kind of ["pointerdown", "keydown", "click"]) addEventListener(kind, () => (touched = true), { capture: true, once: true });

  /** A tab says that it is the chosen one; whether it wants drawing. While the page opens it does not: the project draws every tab as
   *  it opens, and a second drawing that comes late would take back what was pressed in the first. */
  function onTab(key) {
    document.body.dataset.tab = key;
    if (started) remember("tab", key);
    return touched;
  }
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("#tabs [role=tab]");
    if (tab) onTab(tab.dataset.tabId);
  });

  function openTab(key) {
    document.getElementById(`tab-${key}-button`)?.click();
  }

  local.tab = (element) => openTab(element.dataset.tab);

  let shown;
  onDraw("rail", (element) => {
    const rail = element.querySelector(".rail");
    if (!rail) return;
    const { current, name } = rail.dataset;
    const open = current && current !== "-" ? current : "";
    started = true;
    if (shown !== undefined && shown !== current) local["close-drawer"]();
    shown = current;
    remember("project", open);
    if (open) memory((kept) => kept.setItem("studio-project", open));
    document.title = name ? `${name} · Block-LoRA Studio` : "Block-LoRA Studio";
    document.body.dataset.project = name || "";
    document.querySelectorAll(".open-name").forEach((place) => (place.textContent = name || "Block-LoRA Studio"));
  });

  // ---- light and dark

  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = memory((kept) => kept.getItem("studio-theme")); // "light", "dark", or nothing: as the system has it
  function isDark() {
    return chosen ? chosen === "dark" : system.matches;
  }
  function paint() {
    for (const element of [document.documentElement, document.body]) {
      if (element && element.classList.contains("dark") !== isDark()) element.classList.toggle("dark", isDark());
    }
  }
  local.theme = () => {
    const next = isDark() ? "light" : "dark";
    chosen = (next === "dark") === system.matches ? null : next;
    memory((kept) => (chosen ? kept.setItem("studio-theme", chosen) : kept.removeItem("studio-theme")));
    paint();
  };
  addEventListener("storage", (event) => {
    if (event.key !== "studio-theme") return;
    chosen = event.newValue; // chosen in another window
    paint();
  });
  system.addEventListener("change", paint);
  document.addEventListener("DOMContentLoaded", () => {
    paint();
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  });

  // Leaving the page, Gradio's client aborts its own open streams and reports that as errors. The browser ends them by itself, silently;
  // this script runs first, so its listener is asked first.
  addEventListener("beforeunload", (event) => event.stopImmediatePropagation());

  return { memory, attach, onDraw, send, local, onTab, openTab, asked, rooms, viewOf, press };
})();
