// LiteRT.js on WebGPU, which Chromium computes in software here. TRM_MODEL is a file of sudoku4, exported
// with --ports int32; TRM_CHROMIUM the browser. `make test-devices` runs this.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";

import { chromium } from "playwright-core";

import { pageFiles, typeOf } from "../../browser/files.mjs";

const { TRM_MODEL: MODEL, TRM_CHROMIUM: CHROMIUM } = process.env;
const PUZZLE = "341221.3.3.1123.";
const SOLUTION = "3412214343211234";
const FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"];

/** In the page: the answers and steps of one puzzle; undefined without WebGPU. */
async function solved({ jspi, puzzle }) {
  if (!(await navigator.gpu?.requestAdapter())) return undefined;
  const [litert, { openLitert, readPuzzles, solve, textOf }] = await Promise.all(
    ["/engines/litert/index.js", "/src/index.js"].map((path) => import(path)),
  );
  await litert.loadLiteRt("/engines/litert/wasm/", { jspi });
  const file = await (await fetch("/model")).arrayBuffer();
  const found = [];
  for (const accelerator of ["wasm", "webgpu"]) {
    const runner = await openLitert(litert, file, { accelerator });
    const inputs = readPuzzles(runner.contract, puzzle);
    const solution = await solve(runner, { inputs }, { halt: "max_steps", maxSteps: 3 }).catch((error) => error);
    found.push(solution.message ?? `${textOf(runner.contract, solution.answers.data)} ${solution.steps}`);
    runner.close();
  }
  return found;
}

test("LiteRT.js answers on WebGPU as on wasm with JSPI, and is refused without", async (t) => {
  const files = new Map([...pageFiles("webgpu"), ...pageFiles()]);
  files.set("", () => "").set("model", () => readFileSync(MODEL));
  const server = createServer(({ url }, response) => {
    const path = url.slice(1);
    if (!files.has(path)) return response.writeHead(404).end();
    return response.setHeader("Content-Type", path ? typeOf(path) : "text/html").end(files.get(path)());
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const args = process.getuid() === 0 ? [...FLAGS, "--no-sandbox"] : FLAGS;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  t.after(async () => {
    await browser.close();
    server.close();
  });
  const page = async (options) => {
    const opened = await browser.newPage();
    await opened.goto(`http://127.0.0.1:${server.address().port}/`);
    return opened.evaluate(solved, options);
  };
  const found = await page({ jspi: true, puzzle: PUZZLE });
  if (!found) return t.skip("this Chromium has no WebGPU");
  assert.deepEqual(found, [`${SOLUTION} 3`, `${SOLUTION} 3`]);
  const [, refused] = await page({ jspi: false, puzzle: PUZZLE });
  assert.match(refused, /^The accelerator webgpu needs .*\{ jspi: true \}/);
});
