// The vectors of `trm-export vectors` (docs/contract.md), by this driver over onnxruntime-web.
// TRM_VECTORS is their folder, TRM_VECTORS_MODEL an ONNX file of the same model in fp32.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

import { openOnnx, solve, step, TrmError } from "../src/index.js";
import { ARRAYS } from "../src/tensors.js";

const FOLDER = process.env.TRM_VECTORS;
const MODEL = process.env.TRM_VECTORS_MODEL;

test("vectors", { skip: FOLDER && MODEL ? false : "TRM_VECTORS or TRM_VECTORS_MODEL is not set" }, async (t) => {
  const read = (name) => readFileSync(join(FOLDER, name));
  const { tensors, cases, gates, sha256, format } = JSON.parse(read("vectors.json"));
  const data = read("tensors.bin");
  assert.equal(format, "trm-vectors");
  assert.equal(createHash("sha256").update(data).digest("hex"), sha256);
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const runner = await openOnnx(ort, readFileSync(MODEL));
  const gate = gates.fp32.relative_l2;

  const tensor = (name) => {
    const { dtype, shape, offset } = tensors[name];
    const Kind = ARRAYS[dtype];
    const size = shape.reduce((a, b) => a * b, 1) * Kind.BYTES_PER_ELEMENT;
    return { dtype, shape, data: new Kind(new Uint8Array(data.subarray(offset, offset + size)).buffer) };
  };
  const all = (names) => Object.fromEntries(Object.entries(names).map(([key, name]) => [key, tensor(name)]));
  const compare = (expected, found, name) => {
    assert.deepEqual([found.dtype, ...found.shape], [expected.dtype, ...expected.shape], name);
    if (expected.dtype !== "float32") return assert.deepEqual(found.data, expected.data, name);
    const norm = (value) => Math.sqrt(expected.data.reduce((sum, x, i) => sum + value(x, i) ** 2, 0));
    assert.ok(found.data.every(Number.isFinite), name);
    assert.ok(norm((x, i) => found.data[i] - x) <= gate * norm((x) => x), name);
  };
  const kinds = {
    async solve(one) {
      const { halt, slots, deadline, max_steps: maxSteps } = one;
      const found = await solve(runner, all(one.inputs), { halt, slots, deadline, maxSteps });
      const reasons = ["halted", "max_steps", "deadline", "cancelled", "nonfinite"];
      assert.deepEqual(found.answers.data, tensor(one.answers).data);
      assert.deepEqual(found.steps, tensor(one.steps).data);
      assert.deepEqual(found.reasons.map((reason) => reasons.indexOf(reason)), [...tensor(one.stop_reasons).data]);
    },
    async step(one) {
      const found = await step(runner, all(one.inputs), all(one.carry));
      for (const [name, wanted] of Object.entries(one.outputs)) compare(tensor(wanted), found.outputs[name], name);
      for (const [name, wanted] of Object.entries(one.next)) compare(tensor(wanted), found.carry[name], name);
    },
    async refuse(one) {
      await assert.rejects(step(runner, all(one.inputs), all(one.carry)), TrmError);
    },
  };
  for (const one of cases) await t.test(`${one.kind}: ${one.name}`, () => kinds[one.kind](one));
});
