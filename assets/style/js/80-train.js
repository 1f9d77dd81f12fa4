/* The Train tab by hand: the form tells Python of every change, folds stay as they were left, and Train sends the form. */
(() => {
  const { local, send } = studio;
  const roomOf = (element) => element.closest("[data-room]")?.dataset.room;
  const values = (form) => Object.fromEntries(new FormData(form));

  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-draft]");
    if (form) send(roomOf(form), form.dataset.draft, values(form));
  });
  document.addEventListener("submit", (event) => event.target.closest?.("form[data-draft]") && event.preventDefault());

  // Another project's form starts from what that project remembers, not from what was typed here.
  let key;
  studio.onDraw("train-form", (element) => {
    const form = element.querySelector("form");
    if (!form || form.dataset.key === key) return;
    if (key !== undefined) form.reset();
    key = form.dataset.key;
  });

  // How long each recipe takes becomes known, and backbones arrive, while the form stays as it is.
  const showTimes = () => {
    const told = document.querySelector("[data-room=train-go] [data-times]");
    for (const [name, words] of Object.entries(JSON.parse(told?.dataset.times || "{}"))) {
      const place = document.querySelector(`#train-form [data-time="${name}"]`);
      if (place && place.textContent !== words) place.textContent = words;
    }
    const where = JSON.parse(told?.dataset.where || "{}");
    document.querySelectorAll("#train-form [data-where]").forEach((place) => {
      const words = where[place.dataset.where];
      if (words !== undefined && place.textContent !== words) place.textContent = words;
    });
  };
  studio.onDraw("train-go", () => requestAnimationFrame(showTimes));
  studio.onDraw("train-form", () => requestAnimationFrame(showTimes));

  let pressed = 0;
  local.train = (element, room) => {
    if (performance.now() - pressed < 1200) return; // a double click is one wish
    pressed = performance.now();
    send(room, "start", values(document.getElementById("train-form")));
  };

  local["local-backbone"] = async (element, room) => {
    const { name, title } = element.dataset;
    const hint = "The .safetensors file of exactly this model. It is checked and copied; yours stays where it is.";
    const file = await studio.dialog.ask({ title: `A file for ${title}`, label: "File on this computer", ok: "Use it", hint, most: 4000 });
    if (file) send(room, "local-backbone", { name, file });
  };

  // ---- folds: Gradio writes its HTML over ours and would shut what a person has opened

  const folds = {};
  const name = (fold) => `${roomOf(fold)}/${fold.dataset.keep}`;
  // At the click, too: "toggle" comes a moment later, and never for a fold that was drawn over in between.
  document.addEventListener(
    "click",
    (event) => {
      const fold = event.target.closest?.("summary")?.parentElement;
      if (fold?.matches("details[data-keep]")) folds[name(fold)] = !fold.open;
    },
    true,
  );
  document.addEventListener(
    "toggle",
    (event) => {
      if (event.target.matches?.("details[data-keep]")) folds[name(event.target)] = event.target.open;
    },
    true,
  );
  studio.keepFolds = (room) =>
    studio.onDraw(room, (element) =>
      element.querySelectorAll("details[data-keep]").forEach((fold) => {
        const wanted = folds[name(fold)];
        if (wanted !== undefined && fold.open !== wanted) fold.open = wanted;
      }),
    );
  ["train-now", "train-form", "results", "predict", "export"].forEach(studio.keepFolds);

  // ---- asking before something is gone for good

  local.confirm = async (element, room) => {
    const { title, words, ok, send: act, ...data } = element.dataset;
    const sure = await studio.dialog.open(title, (body, close) => {
      const { make } = studio.dialog;
      const no = make("button", { type: "button", class: "b", textContent: "Keep it", onclick: () => close(false) });
      const yes = make("button", { type: "button", class: "b danger", textContent: ok, onclick: () => close(true) });
      body.append(make("p", { textContent: words }), make("footer", {}, no, yes));
    });
    if (sure) send(room, act, data);
  };
})();
