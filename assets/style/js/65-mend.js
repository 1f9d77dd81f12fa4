/* What can be done about a picture that was answered wrong. */
(() => {
  const { local, send, dialog } = studio;

  local.mend = (element) => {
    const { image, said, name } = element.dataset;
    const elsewhere = async () => {
      const holder = element.closest("[data-classes]") || document.querySelector("#tab-results [data-classes]");
      const options = JSON.parse(holder?.dataset.classes || "[]").map(([value, text, count]) => [value, text, String(count)]);
      const answer = await dialog.choose({ title: "Which class is it?", options, create: "New class" });
      if (answer) send("results", "mend-move", { image, ...(answer.create ? { create: answer.create } : { to: answer.value }) });
    };
    dialog.menu(element, [
      said && ["check", `Move to ${name}`, () => send("results", "mend-move", { image, to: said })],
      ["move", "Move to another class…", elsewhere],
      ["eye", "Its class is right: leave it", () => send("results", "mend-keep", { image })],
      null,
      ["trash-2", "Delete it", () => send("results", "mend-delete", { image }), "danger"],
    ].filter((entry) => entry !== "" && entry !== undefined));
  };
})();
