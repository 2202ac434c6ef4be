#!/usr/bin/env node
// A step server in node, over onnxruntime-web: node serve.mjs model.onnx [--threads N]
//
//   python -m trm_runtime check --command "node serve.mjs model.onnx" golden.npz

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { needed, printed } from "./browser/files.mjs";
import { TrmError } from "./src/errors.js";
import { formatOf } from "./src/file.js";
import { openOnnx } from "./src/onnx.js";
import { hello, messages, refusal, replyTo } from "./src/step_server.js";
import meta from "./package.json" with { type: "json" };

const USAGE = "Usage: node serve.mjs MODEL.onnx [--threads N]";

// Standard output is for messages alone; engines print to it.
for (const name of ["log", "info", "debug"]) console[name] = console.error;

async function write(bytes) {
  if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
}

async function open() {
  let options;
  try {
    options = parseArgs({ allowPositionals: true, options: { threads: { type: "string", default: "1" } } });
  } catch (error) {
    throw new TrmError(`${error.message} ${USAGE}`, 2);
  }
  const { values, positionals } = options;
  const threads = Number(values.threads);
  if (positionals.length !== 1 || !Number.isInteger(threads) || threads < 1) throw new TrmError(USAGE, 2);
  const bytes = await readFile(positionals[0]).catch((error) => {
    throw new TrmError(`${positionals[0]}: cannot be read: ${error.message}`);
  });
  if (formatOf(bytes) === "tflite") {
    throw new TrmError(
      `${positionals[0]}: a TFLite file, which runs in browsers only; use serve-browser.mjs, or export ONNX.`,
    );
  }
  needed("onnx");
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = threads;
  return openOnnx(ort, bytes);
}

printed(USAGE);
try {
  const runner = await open();
  await write(hello(runner, `${meta.name} ${meta.version}, node ${process.versions.node}`));
  for await (const message of messages(process.stdin)) await write(await replyTo(runner, message));
} catch (error) {
  await write(refusal(error));
  process.exitCode = error instanceof TrmError ? error.exitCode : 1;
}
process.stdin.destroy(); // an engine's threads would keep the process alive
