// node solve.mjs model.wasm < puzzles: a line of ids with spaces in, "steps reason ids" out.

import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
const { memory, length, cells, solve, answer, reason } = instance.exports;

for (const [index, line] of readFileSync(0, "utf8").trimEnd().split("\n").entries()) {
  const ids = line.trim().split(/\s+/);
  if (ids.length !== length() || !ids.every((id) => /^\d{1,9}$/.test(id))) {
    process.stderr.write(`Line ${index + 1}: expected ${length()} ids with spaces between.\n`);
    process.exit(4);
  }
  new Int32Array(memory.buffer, cells(), length()).set(ids.map(Number));
  const steps = solve();
  const found = new Int32Array(memory.buffer, answer(), length());
  process.stdout.write(`${steps} ${reason()} ${Array.from(found).join(" ")}\n`);
}
