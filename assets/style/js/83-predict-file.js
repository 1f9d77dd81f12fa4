/* The Predict tab's door for files: an .onnx file chosen, dropped where pictures go, or named by its path. */
(() => {
  const { local, send } = studio;
  const MOST = 2 ** 31 - 1; // bytes of an ONNX file
  const room = () => studio.rooms["predict-file"]?.element;
  const frame = () => studio.rooms.predict?.element;
  const visible = () => Boolean(room()?.offsetParent);
  const isModel = (file) => /\.onnx$/i.test(file.name);

  /** Open the one model among `files`; false where there is none, so that they are pictures. */
  async function open(files) {
    const models = files.filter(isModel);
    if (!models.length) return false;
    if (files.length > 1) studio.toast("Open one .onnx file at a time, without pictures beside it.", "warn");
    else if (models[0].size > MOST) studio.toast(`${models[0].name} is larger than 2 GB, the most that one ONNX file can have.`, "danger");
    else {
      const paths = await studio.upload(models);
      if (paths.length) send("predict-file", "open-file", { files: paths });
    }
    return true;
  }
  studio.openModel = open;

  local["predict-open"] = async () => {
    const files = await studio.pick({ accept: ".onnx", multiple: false });
    if (files.length && !(await open(files))) studio.toast("This is not an .onnx file.", "warn");
  };

  local["predict-open-path"] = async () => {
    const hint = "A file that this studio exported. It is checked and copied; yours stays where it is.";
    const file = await studio.dialog.ask({ title: "Open an ONNX file", label: "File on this computer", ok: "Open it", hint, most: 4000 });
    if (file) send("predict-file", "open-path", { file });
  };

  // While there is no model yet there is no place for pictures, but a model may be dropped on the page all the same.
  const bare = (event) => visible() && !frame()?.querySelector(".predict") && [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragover", (event) => bare(event) && event.preventDefault(), true);
  document.addEventListener(
    "drop",
    async (event) => {
      if (!bare(event)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const files = (await studio.dropped(event.dataTransfer)).map((entry) => entry.file);
      if (files.length && !(await open(files))) studio.toast("There is no model yet that could answer. Drop an .onnx file, or train first.", "warn");
    },
    true,
  );
})();
