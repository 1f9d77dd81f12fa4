/* Files on their way to the server: chosen, dropped or pasted, sent in portions, with a bar that shows how far. */
(() => {
  const PORTION = 40; // files a request; the server takes at most 1,000
  const MOST = 20000; // files at once, as many as one import may have

  /** Let the person choose files; an empty list when they chose none. */
  function pick({ accept = "image/*,.heic,.heif,.avif", multiple = true } = {}) {
    return new Promise((resolve) => {
      const input = Object.assign(document.createElement("input"), { type: "file", accept, multiple, className: "picker" });
      input.addEventListener("change", () => (resolve([...input.files]), input.remove()));
      input.addEventListener("cancel", () => (resolve([]), input.remove()));
      document.body.append(input);
      input.click();
    });
  }

  function post(files, onProgress) {
    return new Promise((resolve, reject) => {
      const form = new FormData();
      files.forEach((file) => form.append("files", file, file.name));
      const request = new XMLHttpRequest();
      request.open("POST", "/gradio_api/upload");
      request.upload.onprogress = (event) => onProgress(event.loaded);
      request.onload = () => {
        if (request.status === 200) resolve(JSON.parse(request.responseText));
        else if (request.status === 413) reject(new Error("A file is larger than 4 GB."));
        else reject(new Error(`The upload was refused (${request.status}).`));
      };
      request.onerror = () => reject(new Error("The upload broke off. Is the studio still running?"));
      request.send(form);
    });
  }

  /** Upload `files`; their names on the server in the same order, an empty list when it failed (the person is told). */
  async function upload(files) {
    if (files.length > MOST) {
      studio.toast(`These are ${files.length.toLocaleString("en")} files; at most ${MOST.toLocaleString("en")} can come at once. Choose fewer.`, "danger");
      return [];
    }
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    const bar = progress(files.length === 1 ? `Uploading ${files[0].name}` : `Uploading ${files.length} files`);
    const paths = [];
    let done = 0;
    try {
      for (let start = 0; start < files.length; start += PORTION) {
        const part = files.slice(start, start + PORTION);
        paths.push(...(await post(part, (sent) => bar.set(Math.min(1, (done + sent) / total)))));
        done += part.reduce((sum, file) => sum + file.size, 0);
      }
      return paths;
    } catch (error) {
      studio.toast(error.message, "danger");
      return [];
    } finally {
      bar.end();
    }
  }

  /** A line with a bar at the foot of the page. Shown after a moment, so that quick uploads do not flicker. */
  function progress(words) {
    const { make } = studio.dialog;
    const fill = make("span", { class: "fill" });
    const box = make("div", { class: "uploading", role: "status" }, make("p", { textContent: words }), make("div", { class: "track" }, fill));
    const timer = setTimeout(() => document.body.append(box), 350);
    return {
      set: (share) => (fill.style.width = `${100 * share}%`),
      end: () => (clearTimeout(timer), box.remove()),
    };
  }

  /** Files of a drop, folders walked: [{file, folder}], `folder` being the name of the innermost folder ("" at the top).
   *  More than MOST are refused as a whole (the person is told): a part of a folder would look like all of it. What the browser cannot
   *  read is left out, and the person is told. */
  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
    const found = [];
    const unread = [];
    const asked = (call) => new Promise((resolve, reject) => call(resolve, reject));
    const walk = async (entry, folder) => {
      if (found.length > MOST) return;
      if (entry.isFile) {
        found.push({ file: await asked((yes, no) => entry.file(yes, no)), folder });
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const part = await asked((yes, no) => reader.readEntries(yes, no));
        if (!part.length) return;
        for (const child of part) await tried(child, entry.name);
      }
    };
    const tried = (entry, folder) => walk(entry, folder).catch(() => unread.push(entry.name));
    for (const entry of entries) await tried(entry, "");
    if (unread.length) {
      const more = unread.length > 1 ? ` and ${(unread.length - 1).toLocaleString("en")} more` : "";
      studio.toast(`Left out, since the browser cannot read it: ${unread[0]}${more}.`, "warn");
    }
    if (found.length <= MOST) return found;
    studio.toast(`This drop holds more than ${MOST.toLocaleString("en")} files. Drop its folders one after the other.`, "danger");
    return [];
  }

  Object.assign(studio, { pick, upload, dropped });
})();
