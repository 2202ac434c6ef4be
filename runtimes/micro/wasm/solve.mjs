// node solve.mjs model.wasm < puzzles: a line of ids with spaces in, "steps reason ids" out.

import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { memory, length, cells, solve, answer, reason } = instance.exports;

for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  new Int32Array(memory.buffer, cells(), length()).set(line.split(" ").map(Number));
  const steps = solve();
  const found = new Int32Array(memory.buffer, answer(), length());
  process.stdout.write(`${steps} ${reason()} ${Array.from(found).join(" ")}\n`);
}
