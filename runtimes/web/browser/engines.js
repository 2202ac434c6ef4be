// Both engines in a browser, from the folder `engines/` beside the page (see files.mjs).

import { firstLine, TrmError } from "../src/errors.js";
import { openLitert } from "../src/litert.js";
import { openOnnx } from "../src/onnx.js";
import { adapterName, onGpu } from "./webgpu.js";

const HERE = new URL("../engines/", import.meta.url).href;
const NO_ENGINE = "no available backend found"; // ONNX Runtime, about its own WebAssembly
let litert; // LiteRT.js can be loaded once

/** The engine could not be loaded, whatever the file. ONNX Runtime does not try again on the same page. */
export class EngineError extends TrmError {
  constructor(message) {
    super(message, 3);
  }
}

/** A runner of an exported file, which its suffix gives to its engine; `accelerator` is wasm or webgpu. */
export async function openFile(name, bytes, { threads = 1, accelerator = "wasm" } = {}) {
  const adapter = accelerator === "webgpu" && (await adapterName());
  const open = name.endsWith(".tflite") ? openTflite : openWithOrt;
  const runner = await open(bytes, accelerator, threads);
  return adapter ? onGpu(runner, adapter) : runner;
}

async function openWithOrt(bytes, accelerator, threads) {
  const ort = await import(`${HERE}onnxruntime/ort.${accelerator}.min.mjs`).catch((error) => {
    throw new EngineError(`onnxruntime-web could not be loaded: ${firstLine(error)}`);
  });
  ort.env.wasm.wasmPaths = `${HERE}onnxruntime/`;
  ort.env.wasm.numThreads = threads;
  try {
    return await openOnnx(ort, bytes, { executionProviders: [accelerator] });
  } catch (error) {
    throw firstLine(error).includes(NO_ENGINE) ? new EngineError(error.message) : error;
  }
}

async function openTflite(bytes, accelerator) {
  litert ??= loadLitert(accelerator).catch((error) => {
    litert = undefined;
    throw new EngineError(`LiteRT.js could not be loaded: ${firstLine(error)}`);
  });
  const { engine, version } = await litert;
  return openLitert(engine, bytes, { accelerator }, version);
}

async function loadLitert(accelerator) {
  const engine = await import(`${HERE}litert/index.js`);
  const { version } = await (await fetch(`${HERE}litert/package.json`)).json();
  const jspi = accelerator !== "wasm"; // what reads the memory of another device needs it
  await engine.loadLiteRt(`${HERE}litert/wasm/`, { jspi }); // last, because it refuses a second call
  return { engine, version };
}
