/* The data check by hand: what is pressed is done with the findings' pictures, and the keyboard stays where it was. */
(() => {
  const { local, send, rooms, viewOf } = studio;
  const imagesView = () => viewOf(rooms.images?.element.querySelector("[data-view]"));
  const room = () => rooms.check?.element;
  let place = null; // where the person pressed or went last: which finding, and which of its buttons

  studio.keepFolds("check");

  local["check-act"] = (element) => {
    const { send: act, ids, toClass } = element.dataset;
    send("check", act, { ids: JSON.parse(ids), to: toClass || "", view: imagesView() });
  };

  local["check-group"] = (element) => {
    const { send: act, id, count } = element.dataset;
    send("check", act, { id, count, view: imagesView() });
  };

  local["check-move"] = async (element) => {
    const ids = JSON.parse(element.dataset.ids);
    const answer = await studio.chooseClass("Move to which class?");
    if (answer) send("check", "move", { ids, ...(answer.create ? { create: answer.create } : { to: answer.value }), view: imagesView() });
  };

  // A finding that is dealt with goes, and with it the button that had the focus: the next finding takes it.
  const findings = () => [...(room()?.querySelectorAll("li[data-key]") || [])];
  document.addEventListener("focusin", (event) => {
    const finding = event.target.closest?.("[data-room=check] li[data-key]");
    if (finding) {
      const button = [...finding.querySelectorAll("button")].indexOf(event.target.closest("button"));
      place = { key: finding.dataset.key, at: findings().indexOf(finding), button };
    } else if (event.target !== document.body && !event.target.closest?.("dialog, #toasts")) place = null;
  });
  studio.onDraw("check", () => {
    if (!place) return;
    requestAnimationFrame(() => {
      if (!place || document.activeElement !== document.body) return;
      const all = findings();
      const same = all.find((finding) => finding.dataset.key === place.key);
      const next = same || all[Math.min(place.at, all.length - 1)];
      const buttons = next ? [...next.querySelectorAll("button")] : [];
      (buttons[same ? place.button : 0] || buttons[0] || room()?.querySelector("summary"))?.focus({ preventScroll: true });
    });
  });
})();
