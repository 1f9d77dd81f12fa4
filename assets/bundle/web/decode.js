"use strict";
// From a picture file to the bytes that the model takes: upright RGB, one byte a channel, transparency on white.

const MAX_PIXELS = 100e6; // as in pictures.py

/** Pixels of an image source as {data: Uint8Array of height * width * 3, height, width}. */
function pixelsOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: true, colorSpace: "srgb" });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return { data: rgb, height, width };
}

/** The pixels of a picture file, turned upright by its EXIF note; colour profiles are left out, as the studio does. */
async function decodeFile(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("This is not a picture that this browser can read.");
  }
  try {
    if (bitmap.width * bitmap.height > MAX_PIXELS) throw new Error("This picture is too large: more than 100 million pixels.");
    return pixelsOf(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}
