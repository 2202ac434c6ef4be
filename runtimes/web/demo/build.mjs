// Puts the demo page around the models that benchmarks/build_web_demo.py has written:
//   node runtimes/web/demo/build.mjs build/web-demo

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { needed, pageFiles } from "../browser/files.mjs";

const [here, target] = [dirname(fileURLToPath(import.meta.url)), process.argv[2]];

/** Bytes that a browser loads of an engine; of the two builds of LiteRT.js it loads one. */
function sizeOf(engine) {
  const loaded = (path) => path.startsWith(`engines/${engine}/`) && !path.includes("compat");
  const files = [...pageFiles()].filter(([path]) => loaded(path));
  return files.reduce((sum, [, read]) => sum + read().length, 0);
}

try {
  ["onnx", "tflite"].forEach(needed);
} catch (error) {
  console.error(error.message);
  process.exit(error.exitCode);
}
for (const [path, read] of pageFiles()) {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  writeFileSync(join(target, path), read());
}
mkdirSync(join(target, "demo"), { recursive: true });
for (const name of readdirSync(here).filter((name) => /\.(js|css)$/.test(name))) {
  copyFileSync(join(here, name), join(target, "demo", name));
}
copyFileSync(join(here, "index.html"), join(target, "index.html"));
const engines = { onnx: sizeOf("onnxruntime"), tflite: sizeOf("litert") };
writeFileSync(join(target, "engines.json"), JSON.stringify(engines));
console.log(`The page is in ${target}, any web server can host it. Here:
  python3 -m http.server --directory ${target} 8000
and open http://localhost:8000`);
