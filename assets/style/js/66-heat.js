/* Heat maps: which label one explains and how strong it shows is settled here; pictures of the project get theirs in a dialog. */
(() => {
  const { local, send, dialog } = studio;

  document.addEventListener("input", (event) => {
    const heat = event.target.closest?.(".heat");
    if (!heat) return;
    if ("heatStrength" in event.target.dataset) heat.style.setProperty("--strength", event.target.value / 100);
    if (event.target.type === "radio") {
      heat.querySelectorAll("[data-reason]").forEach((element) => (element.hidden = element.dataset.reason !== event.target.value));
    }
  });

  let asked = 0;
  let fill = null;

  local.why = (element) => {
    const number = ++asked;
    const { run, image, words, labels } = element.dataset;
    dialog.open(
      words,
      (body) => {
        const waiting = dialog.make("p", { class: "waiting", innerHTML: dialog.icon("loader-circle") });
        waiting.setAttribute("role", "status");
        waiting.append("Covering the picture bit by bit and asking again…");
        body.append(waiting);
        fill = (answer) => Number(answer.dataset.number) === number && body.replaceChildren(answer.content.cloneNode(true));
      },
      "why",
    ).then(() => number === asked && (fill = null));
    send("why", "why", { run, image, number, labels: JSON.parse(labels || "[]") });
  };

  studio.onDraw("why", (element, html) => {
    if (!fill || !html) return;
    const holder = document.createElement("div");
    holder.innerHTML = html;
    if (holder.firstElementChild instanceof HTMLTemplateElement) fill(holder.firstElementChild);
  });
})();
