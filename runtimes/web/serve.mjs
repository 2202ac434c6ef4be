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

function options() {
  try {
    const options = { threads: { type: "string", default: "1" } };
    const { values, positionals } = parseArgs({ allowPositionals: true, options });
    const { threads } = values;
    if (positionals.length !== 1) throw new Error("Expected one model.");
    if (!/^[1-9]\d*$/.test(threads)) throw new Error(`--threads: expected 1 or more, got ${threads}.`);
    return { model: positionals[0], threads: Number(threads) };
  } catch (error) {
    throw new TrmError(`${error.message} ${USAGE}`, 2);
  }
}

async function open() {
  const { model, threads } = options();
  const bytes = await readFile(model).catch((error) => {
    throw new TrmError(`${model}: cannot be read: ${error.message}`);
  });
  if (formatOf(bytes) === "tflite") {
    throw new TrmError(
      `${model}: a TFLite file, which runs in browsers only; use serve-browser.mjs, or export ONNX.`,
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
