// What each file of the demo page costs in Chromium, on one thread:
//   node runtimes/web/demo/measure.mjs build/web-demo [TASK]
//
// Makes all steps of four examples of a task with every file, and prints a table in Markdown. On a
// busy machine the least time of a step is the one that says most.

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

async function solveAll({ file, examples }) {
  const { openFile } = await import("/browser/engines.js");
  const { readPuzzles, solve } = await import("/src/index.js");
  const bytes = new Uint8Array(await (await fetch(`/models/${file}`)).arrayBuffer());
  const runner = await openFile(file, bytes);
  const times = [];
  const call = async (...given) => {
    const began = performance.now();
    const result = await runner.call(...given);
    times.push(performance.now() - began);
    return result;
  };
  const inputs = readPuzzles(runner.contract, examples.slice(0, 4).join("\n"));
  await solve({ ...runner, call }, { inputs }, { slots: 1, halt: "max_steps" });
  return { engine: runner.engine, times: times.slice(1).sort((a, b) => a - b) };
}

console.log("| engine | file | bytes of the file | of the engine | steps | least ms | median ms |");
console.log("|---|---|---|---|---|---|---|");
for (const { file, bytes } of task.files) {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const { engine, times } = await page.evaluate(solveAll, { file, examples: task.examples });
  const [least, median] = [times[0], times[times.length >> 1]].map((time) => time.toFixed(1));
  const own = engines[file.split(".").at(-1)];
  console.log(`| ${engine} | ${file} | ${bytes} | ${own} | ${times.length} | ${least} | ${median} |`);
  await page.close();
}
await browser.close();
server.close();
