// The files of a page: this package and the engines, by their paths under the page's folder. And what
// both step servers do before they open a file.

import { readdirSync, readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { TrmError } from "../src/errors.js";

const HERE = dirname(dirname(fileURLToPath(import.meta.url)));
const ORT = {
  wasm: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};
const LITERT = { wasm: /^litert_wasm_(compat_)?internal/, webgpu: /^litert_wasm_jspi_internal/ };

const TYPES = {
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
  html: "text/html",
  css: "text/css",
  json: "application/json",
};

const PACKAGES = { onnx: "onnxruntime-web", tflite: "@litertjs/core" };

/** Refuses to go on without the engine of a format, with the line that installs it. */
export function needed(format) {
  const name = PACKAGES[format];
  if (!folderOf(name)) throw new TrmError(`${name} is not installed; run npm install ${name}.`, 3);
}

/** Prints the usage and ends, if that is what is asked for. */
export function printed(usage) {
  if (!process.argv.slice(2).some((word) => word === "--help" || word === "-h")) return;
  writeSync(1, `${usage}\n`);
  process.exit(0);
}

/** Path on the page to its bytes: our modules, and those engines that are installed, for an accelerator. */
export function pageFiles(accelerator = "wasm") {
  const files = new Map();
  const add = (path, ...places) => files.set(path, () => readFileSync(join(...places)));
  for (const folder of ["src", "browser"]) {
    for (const name of readdirSync(join(HERE, folder))) add(`${folder}/${name}`, HERE, folder, name);
  }
  const ort = folderOf("onnxruntime-web");
  for (const name of ort ? ORT[accelerator] : []) add(`engines/onnxruntime/${name}`, ort, "dist", name);
  const litert = folderOf("@litertjs/core");
  if (!litert) return files;
  add("engines/litert/package.json", litert, "package.json");
  for (const name of readdirSync(join(litert, "wasm"))) {
    if (LITERT[accelerator].test(name)) add(`engines/litert/wasm/${name}`, litert, "wasm", name);
  }
  add("engines/litert/wasm-utils.js", litert, "..", "wasm-utils", "dist", "index.js");
  const index = readFileSync(join(litert, "dist", "index.js"), "utf8"); // a page has no packages
  files.set("engines/litert/index.js", () => index.replace("@litertjs/wasm-utils", "./wasm-utils.js"));
  return files;
}

/** Its type, for a header. */
export function typeOf(path) {
  return TYPES[path.split(".").at(-1)] ?? "application/octet-stream";
}

/** The folder of an installed package; undefined if it is not there. */
function folderOf(name) {
  const found = createRequire(import.meta.url).resolve.paths(name).map((path) => join(path, name));
  return found.find((path) => {
    try {
      return readdirSync(path).includes("package.json");
    } catch {
      return false;
    }
  });
}
