// Both engines in a browser, from the folder `engines/` beside the page (see files.mjs).

import { firstLine, TrmError } from "../src/errors.js";
import { openLitert } from "../src/litert.js";
import { openOnnx } from "../src/onnx.js";

const HERE = new URL("../engines/", import.meta.url).href;
const NO_ENGINE = "no available backend found"; // ONNX Runtime, about its own WebAssembly
let litert; // LiteRT.js can be loaded once

/** The engine could not be loaded, whatever the file. ONNX Runtime does not try again on the same page. */
export class EngineError extends TrmError {}

/** A runner of an exported file, which its suffix gives to its engine. */
export async function openFile(name, bytes, { threads = 1 } = {}) {
  return name.endsWith(".tflite") ? openTflite(bytes) : openWithOrt(bytes, threads);
}

async function openWithOrt(bytes, threads) {
  const ort = await import(`${HERE}onnxruntime/ort.wasm.min.mjs`).catch((error) => {
    throw new EngineError(`onnxruntime-web could not be loaded: ${firstLine(error)}`);
  });
  ort.env.wasm.wasmPaths = `${HERE}onnxruntime/`;
  ort.env.wasm.numThreads = threads;
  try {
    return await openOnnx(ort, bytes);
  } catch (error) {
    throw firstLine(error).includes(NO_ENGINE) ? new EngineError(error.message) : error;
  }
}

async function openTflite(bytes) {
  litert ??= loadLitert().catch((error) => {
    litert = undefined;
    throw new EngineError(`LiteRT.js could not be loaded: ${firstLine(error)}`);
  });
  const { engine, version } = await litert;
  return openLitert(engine, bytes, {}, version);
}

async function loadLitert() {
  const engine = await import(`${HERE}litert/index.js`);
  const { version } = await (await fetch(`${HERE}litert/package.json`)).json();
  await engine.loadLiteRt(`${HERE}litert/wasm/`); // last, because it refuses a second call
  return { engine, version };
}
