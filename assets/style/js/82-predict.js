/* The Predict tab by hand: pictures dropped, pasted, chosen; and the camera, whose newest frame alone is ever asked about. */
(() => {
  const { local, send, dialog } = studio;
  const SIDE = 640; // pixels of a frame's long side
  const PAUSE = 60; // milliseconds between an answer and the next frame
  const PATIENCE = 8000; // milliseconds after which an answer counts as lost
  const ROOMS = ["predict", "predict-one", "predict-many"];
  const room = () => studio.rooms.predict?.element;
  const root = () => room()?.querySelector(".predict");
  const visible = () => Boolean(root() && room().offsetParent);

  // ---- pictures

  async function take(files) {
    const kept = files.filter((file) => !/^(\.|Thumbs\.db$|desktop\.ini$)/i.test(file.name));
    if (!kept.length || (await studio.openModel(kept))) return;
    camera.stop();
    const paths = await studio.upload(kept);
    if (paths.length) send("predict", "pictures", { files: paths });
  }

  local["predict-choose"] = async () => take(await studio.pick({ accept: "image/*,.heic,.heif,.avif,.zip" }));

  local["predict-paste"] = async () => {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((kind) => kind.startsWith("image/"));
        if (type) return take([new File([await item.getType(type)], `pasted.${type.split("/")[1]}`, { type })]);
      }
      studio.toast("There is no picture on the clipboard. Copy one first.", "warn");
    } catch {
      studio.toast("The browser did not let the page read the clipboard. Press Ctrl+V instead.", "warn");
    }
  };

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
    if (!files.length || !visible() || event.target.closest?.("input, textarea, .dialog")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    take(files);
  }, true);

  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event) || !visible()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    root().querySelector("[data-predict-drop]").classList.add("over-drop");
  }, true);
  document.addEventListener("dragleave", (event) => !event.relatedTarget && root()?.querySelector(".over-drop")?.classList.remove("over-drop"));
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event) || !visible()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    root().querySelector(".over-drop")?.classList.remove("over-drop");
    take((await studio.dropped(event.dataTransfer)).map((entry) => entry.file));
  }, true);

  // ---- the camera: the next frame is taken only when the last one is answered, so frames never queue up

  const camera = (() => {
    let stream, video, place;
    let number = 0;
    let sent = { number: 0, at: 0, blob: null };
    let answered = null;
    let lost = 0;
    const canvas = document.createElement("canvas");

    let starting = false;
    async function start() {
      if (starting) return; // whoever presses again while the browser asks would have a stream that nobody can stop
      starting = true;
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: { ideal: "environment" } }, audio: false });
      } catch (error) {
        const words = { NotAllowedError: "The browser may not use the camera. Allow it for this page and try again.", NotFoundError: "No camera was found." };
        return studio.toast(words[error?.name] || "The camera cannot be used here. It needs this computer's own address, or https.", "warn");
      } finally {
        starting = false;
      }
      if (!visible()) return stop(); // the tab was left meanwhile
      stream.getTracks().forEach((track) => track.addEventListener("ended", stop)); // unplugged, or taken back
      place = document.getElementById("predict-camera");
      video = dialog.make("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream });
      place.replaceChildren(video, dialog.make("button", { type: "button", class: "b", textContent: "Stop the camera", onclick: stop }));
      place.classList.add("on");
      room().classList.add("with-camera");
      lost = 0;
      video.play().catch(() => {});
      loop();
    }

    function stop() {
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      place?.replaceChildren();
      place?.classList.remove("on");
      room()?.classList.remove("with-camera");
    }

    function loop() {
      if (!stream) return;
      if (!visible()) return stop();
      const waiting = sent.number > (answered?.number ?? 0);
      if (waiting && performance.now() - sent.at > PATIENCE && ++lost > 1) {
        stop();
        return studio.toast("The studio does not answer, so the camera was switched off.", "warn");
      }
      if (document.visibilityState === "visible" && video.videoWidth && (!waiting || performance.now() - sent.at > PATIENCE)) shoot();
      setTimeout(loop, PAUSE);
    }

    function shoot() {
      const scale = Math.min(1, SIDE / Math.max(video.videoWidth, video.videoHeight));
      canvas.width = Math.round(video.videoWidth * scale);
      canvas.height = Math.round(video.videoHeight * scale);
      canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
      sent = { number: ++number, at: performance.now(), blob: null };
      const mine = sent;
      canvas.toBlob(
        (blob) => {
          mine.blob = blob;
          const reader = new FileReader();
          reader.onload = () => stream && send("predict-one", "frame", { data: reader.result.split(",")[1], number: mine.number });
          reader.readAsDataURL(blob);
        },
        "image/jpeg",
        0.9,
      );
    }

    studio.onDraw("predict-one", (element) => {
      const got = Number(element.querySelector(".answer")?.dataset.number || 0);
      if (!got || got !== sent.number) return;
      answered = sent;
      lost = 0;
    });

    return { start, stop, on: () => Boolean(stream), frame: () => answered?.blob };
  })();

  local["predict-camera"] = () => (camera.on() ? camera.stop() : camera.start());

  // ---- many pictures

  local["predict-folder"] = async () => {
    const hint = "Every picture in it and in its folders is looked at. Nothing is changed or copied.";
    const folder = await dialog.ask({ title: "Predict a folder", label: "Folder on this computer", ok: "Predict", hint, most: 4000 });
    if (folder) send("predict", "folder", { folder });
  };

  // A file that is made when it is asked for is saved when it is there, by the page that asked.
  let wanted = null;
  local["predict-make"] = (element) => {
    wanted = element.dataset.kind;
    send("predict-many", "make", { kind: wanted });
  };
  studio.onDraw("predict-many", (element) =>
    requestAnimationFrame(() => {
      const made = wanted && element.querySelector(`a[data-made="${wanted}"]`);
      if (!made) return;
      wanted = null;
      made.click();
    }),
  );

  local["predict-sort"] = async () => {
    const hint = "The pictures are copied, each into a folder for its class. Yours stay where they are; nothing is overwritten.";
    const folder = await dialog.ask({ title: "Sort into a folder", label: "Folder on this computer", ok: "Copy", hint, most: 4000 });
    if (folder) send("predict-many", "sort", { folder });
  };

  // ---- why, and teaching it better

  /** What an answer is about, as it is now: the camera goes on, and another answer may come into its place. */
  const seenIn = (answer) => ({ file: answer.dataset.file, frame: camera.frame() });

  /** The upload that it is; the frame of a camera is uploaded first. */
  async function pathOf({ file, frame }) {
    if (file || !frame) return file;
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    return (await studio.upload([new File([frame], `camera-${stamp}.jpg`, { type: "image/jpeg" })]))[0];
  }

  local["predict-why"] = async (element) => {
    element.disabled = true;
    const answer = element.closest(".answer");
    if (!answer.dataset.file) camera.stop(); // the next frame would take the map away
    const path = await pathOf(seenIn(answer));
    if (path) send("predict-one", "why", { file: path });
    else element.disabled = false;
  };

  local["predict-add"] = async (element) => {
    const seen = seenIn(element.closest(".answer"));
    const options = JSON.parse(root().dataset.classes).map(([id, name, count]) => [id, name, count.toLocaleString("en")]);
    const chosen = await dialog.choose({ title: "Which class is it?", options, create: "New class", hint: "The picture is added to your images; training again teaches the model." });
    if (!chosen) return;
    const path = await pathOf(seen);
    if (path) send("predict-one", "add", { file: path, ...(chosen.create ? { create: chosen.create } : { id: chosen.value }) });
  };

  ROOMS.forEach((name) => studio.keepFolds?.(name));
})();
