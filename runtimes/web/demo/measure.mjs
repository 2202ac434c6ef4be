// What each file of the demo page costs in Chromium, on one thread:
//   node runtimes/web/demo/measure.mjs build/web-demo [TASK]
//
// Makes all steps of four examples of a task with every file, and prints a table in Markdown. Time is
// that of the processor, so that it says something on a busy machine, too.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { typeOf } from "../browser/files.mjs";

const [, , folder, name = "sudoku9"] = process.argv;
const read = (file) => JSON.parse(readFileSync(join(folder, file), "utf8"));
const task = read("demo.json").find((found) => found.name === name);
const engines = read("engines.json");

const server = createServer((request, response) => {
  const path = request.url.slice(1);
  if (!path) return response.setHeader("Content-Type", "text/html").end("<link rel=icon href=data:,>");
  return response.setHeader("Content-Type", typeOf(path)).end(readFileSync(join(folder, path)));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
const executablePath = process.env.TRM_CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args });

/** In the page: open a file and make the first steps, which are slow. */
async function open({ file, examples }) {
  const { openFile } = await import("/browser/engines.js");
  const { readPuzzles, solve } = await import("/src/index.js");
  const bytes = new Uint8Array(await (await fetch(`/models/${file}`)).arrayBuffer());
  const runner = await openFile(file, bytes);
  const inputs = readPuzzles(runner.contract, examples.slice(0, 4).join("\n"));
  globalThis.solveAll = () => solve(runner, { inputs }, { slots: 1, halt: "max_steps" });
  await solve(runner, { inputs }, { slots: 1, maxSteps: 1 });
  return runner.engine;
}

/** Seconds of the processor that the page has used so far. */
async function processorTime(session) {
  const { metrics } = await session.send("Performance.getMetrics");
  return metrics.find(({ name: metric }) => metric === "ThreadTime").value;
}

console.log("| engine | file | bytes of the file | of the engine | steps | ms a step |");
console.log("|---|---|---|---|---|---|");
for (const { file, bytes } of task.files) {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const engine = await page.evaluate(open, { file, examples: task.examples });
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const before = await processorTime(session);
  const steps = await page.evaluate(async () => (await globalThis.solveAll()).steps.reduce((a, b) => a + b));
  const time = ((await processorTime(session)) - before) * 1000;
  const own = engines[file.split(".").at(-1)];
  console.log(`| ${engine} | ${file} | ${bytes} | ${own} | ${steps} | ${(time / steps).toFixed(1)} |`);
  await page.close();
}
await browser.close();
server.close();
