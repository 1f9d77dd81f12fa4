"use strict";
// The page of the classifier: model and labels come from the folder above, everything runs here.

const MODEL = "../model.onnx", LABELS = "../labels.json";
const SHOWN = 5; // bars
const at = (id) => document.getElementById(id);
let session = null, labels = [], stream = null, busy = false;

function tell(words, how = "") {
  const notice = at("notice");
  notice.hidden = !words;
  notice.textContent = words;
  if (how) {
    const code = document.createElement("code");
    code.textContent = how;
    notice.append(document.createElement("br"), code);
  }
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.replace("../", "")} is not beside this folder (${answer.status}). Keep the zip's folders together.`);
  return answer;
}

async function load() {
  if (location.protocol === "file:") {
    at("status").textContent = "This page needs a web server.";
    tell("Browsers do not let a page opened as a file read the model beside it. In the unpacked folder run this, then open http://localhost:8000/web/", "python -m http.server 8000");
    return;
  }
  try {
    labels = await (await fetched(LABELS)).json();
    at("classes").textContent = labels.length <= 12 ? labels.join(", ") : `${labels.length} classes: ${labels.slice(0, 8).join(", ")}…`;
    ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
    const bytes = await (await fetched(MODEL)).arrayBuffer();
    session = await ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: ["wasm"] });
    at("status").textContent = "Ready.";
  } catch (error) {
    at("status").textContent = "The model could not be loaded.";
    tell(String(error.message || error));
  }
}

/** What the model says of pixels as `decodeFile` gives them: {probabilities: Float32Array, known, milliseconds}; `known` is false
 *  for a picture of none of the classes, null where the model has no rule for that. */
async function ask(pixels) {
  const began = performance.now();
  const tensor = new ort.Tensor("uint8", pixels.data, [1, pixels.height, pixels.width, 3]);
  const found = await session.run({ images: tensor });
  const known = found.known ? Boolean(found.known.data[0]) : null;
  return { probabilities: found.probabilities.data, known, milliseconds: performance.now() - began };
}

function show(answer) {
  const order = [...answer.probabilities.keys()].sort((a, b) => answer.probabilities[b] - answer.probabilities[a] || a - b);
  const nearest = labels[order[0]];
  at("status").textContent = answer.known === false ? `None of these. Nearest: ${nearest}` : nearest;
  at("bars").replaceChildren(...order.slice(0, SHOWN).map((index) => {
    const percent = (100 * answer.probabilities[index]).toFixed(1);
    const row = document.createElement("li"), name = document.createElement("span"), figure = document.createElement("span");
    const track = document.createElement("div"), fill = document.createElement("div");
    name.textContent = labels[index];
    figure.textContent = `${percent} %`;
    track.className = "track";
    fill.className = "fill";
    fill.style.width = `${percent}%`;
    track.append(fill);
    row.append(name, figure, track);
    return row;
  }));
  at("time").textContent = `${answer.milliseconds.toFixed(0)} ms`;
}

async function picture(blob) {
  if (!session || busy) return;
  busy = true;
  tell("");
  try {
    stopCamera();
    const pixels = await decodeFile(blob);
    const shown = at("shown");
    URL.revokeObjectURL(shown.src);
    shown.src = URL.createObjectURL(blob);
    shown.alt = blob.name || "The picture";
    shown.hidden = false;
    at("hint").hidden = true;
    show(await ask(pixels));
  } catch (error) {
    tell(String(error.message || error));
  } finally {
    busy = false;
  }
}

function stopCamera() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = null;
  at("camera").hidden = true;
  at("webcam").textContent = "Camera";
}

async function camera() {
  if (stream) {
    stopCamera();
    at("hint").hidden = !at("shown").hidden;
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    tell(`The camera cannot be used: ${error.message}. Pages on localhost or https may use it, when you allow it.`);
    return;
  }
  const video = at("camera");
  video.srcObject = stream;
  await video.play();
  video.hidden = false;
  at("shown").hidden = at("hint").hidden = true;
  at("webcam").textContent = "Stop the camera";
  const next = async () => {
    if (!stream) return;
    if (session && !busy && video.videoWidth) show(await ask(pixelsOf(video, video.videoWidth, video.videoHeight)));
    requestAnimationFrame(next);
  };
  next();
}

at("file").addEventListener("change", (event) => { if (event.target.files[0]) picture(event.target.files[0]); event.target.value = ""; });
at("webcam").addEventListener("click", camera);
addEventListener("paste", (event) => { const file = [...event.clipboardData.files].find((f) => f.type.startsWith("image/")); if (file) picture(file); });
addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) picture(event.dataTransfer.files[0]);
});
load();
