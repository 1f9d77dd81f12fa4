/* Pictures from the camera: one at a time, or a burst for as long as the button is held. */
(() => {
  const { local, dialog } = studio;
  const EVERY = 250; // milliseconds between pictures of a burst
  const MOST = 120;

  local.camera = async (element) => {
    const { id, name } = element.dataset; // now: a drawing may make it another class's button
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 960 } }, audio: false });
    } catch (error) {
      const words = { NotAllowedError: "The browser may not use the camera. Allow it for this page and try again.", NotFoundError: "No camera was found." };
      return studio.toast(words[error.name] || "The camera cannot be used right now.", "warn");
    }
    const shots = []; // a promise of each picture: the last of a burst may still be compressed when "Add" is pressed
    const kept = await dialog.open(`Pictures for ${name}`, (body, close) => fill(body, close, stream, shots), "camera");
    stream.getTracks().forEach((track) => track.stop());
    if (!kept) return;
    const blobs = (await Promise.all(shots)).filter(Boolean);
    if (blobs.length < shots.length) studio.toast("Not every picture could be kept.", "warn");
    if (!blobs.length) return;
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    const files = blobs.map((blob, number) => new File([blob], `camera-${stamp}-${String(number + 1).padStart(3, "0")}.jpg`, { type: "image/jpeg" }));
    const paths = await studio.upload(files);
    if (paths.length) studio.send("images", "add-files", { files: paths, id });
  };

  function fill(body, close, stream, shots) {
    const { make } = dialog;
    const video = make("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream });
    const strip = make("div", { class: "taken" });
    const shutter = make("button", { type: "button", class: "shutter", ariaLabel: "Take a picture; hold for a burst" });
    const count = make("span", { class: "n", textContent: "Press once, or hold" });
    const done = make("button", { type: "button", class: "b primary", textContent: "Add", disabled: true, onclick: () => close(true) });
    const canvas = make("canvas");

    const shoot = () => {
      if (!video.videoWidth || shots.length >= MOST) return;
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      const shot = new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
      shots.push(shot);
      count.textContent = shots.length === 1 ? "1 picture" : `${shots.length} pictures`;
      done.disabled = false;
      shot.then((blob) => {
        if (!blob) return;
        const small = make("img", { src: URL.createObjectURL(blob), alt: "" });
        small.onload = () => URL.revokeObjectURL(small.src);
        strip.prepend(small);
      });
    };
    let burst = null;
    const start = () => (stop(), shoot(), (burst = setInterval(shoot, EVERY)));
    const stop = () => (clearInterval(burst), (burst = null));
    shutter.onpointerdown = (event) => (shutter.setPointerCapture(event.pointerId), start());
    shutter.onpointerup = shutter.onpointercancel = stop;
    shutter.onkeydown = (event) => {
      if ((event.key === " " || event.key === "Enter") && !event.repeat) {
        event.preventDefault();
        start();
      }
    };
    shutter.onkeyup = shutter.onblur = stop;
    body.append(
      make("div", { class: "finder" }, video),
      make("div", { class: "controls" }, count, shutter, done),
      strip,
    );
    video.play().catch(() => {});
  }
})();
