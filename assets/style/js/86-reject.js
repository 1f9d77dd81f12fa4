/* "None of these": the card counts on the scores it was given while a slider is dragged; only Apply reaches the server. */
(() => {
  const { local, send } = studio;
  const kept = {}; // what was moved and not applied, by run and choice: a card that is drawn again keeps it
  const cards = () => document.querySelectorAll("[data-room=reject] .card.reject[data-reject]");
  const percent = (share) => `${Math.round(100 * share)} %`;

  /** Wilson's 95 % interval of a share. */
  function wilson(right, n, z = 1.96) {
    const share = right / n, middle = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
    const half = (z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n))) / (1 + (z * z) / n);
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
  }

  const answers = (wish, point) => (wish.familiar === null || point[0] >= wish.familiar - 1e-5) && point[1] >= wish.sure - 1e-9;
  const same = (one, other) => one.familiar === other.familiar && Math.abs(one.sure - other.sure) < 1e-9;
  const always = (wish) => wish.familiar === null && wish.sure <= 0;

  function bold(place, text) {
    const mark = document.createElement("b");
    mark.textContent = text;
    place.append(mark);
  }

  function say(place, data, wish) {
    const answered = data.points.filter((point) => answers(wish, point)), n = data.points.length;
    const right = answered.filter((point) => point[2]).length;
    place.replaceChildren();
    if (!answered.length) {
      place.append("It would answer ");
      bold(place, "none");
      place.append(" of these pictures.");
    } else {
      const [low, high] = wilson(right, answered.length);
      place.append("Answers ");
      bold(place, `${answered.length} of ${n}`);
      place.append(` (${percent(answered.length / n)}), right on `);
      bold(place, percent(right / answered.length));
      place.append(` of those; on new pictures expect ${percent(low)} to ${percent(high)}.`);
    }
    if (data.others.length && answered.length) {
      place.append(" Refuses ");
      bold(place, `${data.others.filter((point) => !answers(wish, point)).length} of ${data.others.length}`);
      place.append(" pictures of something else.");
    }
  }

  /** Where the slider of familiarity stands for a value: the nearest level. */
  function place(levels, familiar) {
    if (familiar === null) return 0;
    let best = 1;
    for (let i = 1; i < levels.length; i++) if (Math.abs(levels[i] - familiar) < Math.abs(levels[best] - familiar)) best = i;
    return best;
  }

  /** Show a wish on a card: sliders, their words, the sentence, what may be pressed. */
  function show(card, wish) {
    const data = JSON.parse(card.dataset.reject), off = always(wish);
    const familiar = card.querySelector("[name=familiar]"), sure = card.querySelector("[name=sure]");
    card.wish = wish;
    familiar.value = place(data.levels, wish.familiar);
    sure.value = Math.round(100 * wish.sure);
    familiar.disabled = sure.disabled = wish.how === "off";
    card.querySelector("[name=off]").checked = wish.how === "off";
    const unlike = data.points.filter((point) => wish.familiar !== null && point[0] < wish.familiar - 1e-5).length;
    const doubted = data.points.filter((point) => point[1] < wish.sure - 1e-9).length;
    tell(card, familiar, wish.familiar === null ? "refuses nothing" : `refuses ${unlike} of ${data.points.length} as unlike`);
    tell(card, sure, wish.sure > 0 ? `at least ${percent(wish.sure)}, refuses ${doubted}` : "refuses nothing");
    say(card.querySelector(".says"), data, wish);
    const now = data.now, changed = !same(wish, now) || (off && (wish.how === "off") !== (now.how === "off"));
    card.querySelector("[data-do=reject-apply]").disabled = !changed;
    const chosen = card.querySelector(".chosen");
    chosen.dataset.words ??= chosen.textContent;
    chosen.textContent = changed ? "Not applied yet: the model still does as before." : chosen.dataset.words;
    if (changed) kept[card.dataset.key] = wish;
    else delete kept[card.dataset.key];
    card.querySelectorAll("[data-ready]").forEach((button) => {
      const ready = button.dataset.ready === "suggested" ? data.suggested : data.ready[button.dataset.ready];
      button.setAttribute("aria-pressed", String(Boolean(ready) && same(ready, wish) && wish.how !== "off"));
    });
  }

  function tell(card, slider, words) {
    card.querySelector(`output[for=${slider.id}]`).textContent = words;
    slider.setAttribute("aria-valuetext", words);
  }

  const begin = () =>
    cards().forEach((card) => show(card, kept[card.dataset.key] || JSON.parse(card.dataset.reject).now));
  studio.onDraw("reject", () => requestAnimationFrame(begin));

  document.addEventListener("input", (event) => {
    const card = event.target.closest?.(".card.reject[data-reject]");
    if (!card || !card.wish) return;
    const data = JSON.parse(card.dataset.reject);
    if (event.target.name === "off") return show(card, event.target.checked ? { familiar: null, sure: 0, how: "off" } : { ...data.suggested, how: "suggested" });
    const wish = { familiar: card.wish.familiar, sure: card.wish.sure, how: "person" };
    if (event.target.name === "familiar") wish.familiar = data.levels[Number(event.target.value)];
    if (event.target.name === "sure") wish.sure = Number(event.target.value) / 100;
    show(card, wish);
  });

  local["reject-ready"] = (button) => {
    const card = button.closest(".card.reject"), data = JSON.parse(card.dataset.reject), key = button.dataset.ready;
    const ready = key === "suggested" ? { ...data.suggested, how: "suggested" } : data.ready[key];
    if (ready) show(card, ready);
  };

  local["reject-apply"] = (button, room) => {
    const { familiar, sure, how, precision } = button.closest(".card.reject").wish;
    button.disabled = true;
    send(room, "apply", { familiar, sure, how, precision: precision ?? null });
  };
})();
