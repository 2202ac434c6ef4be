// Both engines in a browser, from the folder `engines/` beside the page (see files.mjs).

import { openLitert } from "../src/litert.js";
import { openOnnx } from "../src/onnx.js";

const HERE = new URL("../engines/", import.meta.url).href;
let litert; // LiteRT.js can be loaded once

/** A runner of an exported file, which its suffix gives to its engine. */
export async function openFile(name, bytes, { threads = 1 } = {}) {
  return name.endsWith(".tflite") ? openTflite(bytes) : openWithOrt(bytes, threads);
}

async function openWithOrt(bytes, threads) {
  const ort = await import(`${HERE}onnxruntime/ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = `${HERE}onnxruntime/`;
  ort.env.wasm.numThreads = threads;
  return openOnnx(ort, bytes);
}

async function openTflite(bytes) {
  litert ??= (async () => {
    const engine = await import(`${HERE}litert/index.js`);
    await engine.loadLiteRt(`${HERE}litert/wasm/`);
    const { version } = await (await fetch(`${HERE}litert/package.json`)).json();
    return { engine, version };
  })();
  const { engine, version } = await litert;
  return openLitert(engine, bytes, {}, version);
}
