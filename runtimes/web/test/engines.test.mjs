// The adapters of both engines, which are fakes here: what they refuse, and what they leave open.

import assert from "node:assert/strict";
import test from "node:test";

import { openLitert, openOnnx, solve } from "../src/index.js";
import { boards, entry, fakeLitert, fakeOrt, makeContract, sealed, tfliteFile } from "./fakes.mjs";

const contract = makeContract({ batch: 1, halted: "int32" });
const onnx = sealed(entry("trm_contract", JSON.stringify(contract)));
const tflite = tfliteFile(contract);
const other = { inputMetadata: [], outputMetadata: [] };
const puzzle = boards([2, 1, 1, 1]);

for (const accelerator of ["wasm", "webgpu"]) {
  test(`LiteRT.js solves with the accelerator ${accelerator} and keeps no tensor`, async () => {
    const litert = fakeLitert(contract);
    const runner = await openLitert(litert, tflite, { accelerator }, "2.5.3");
    const { answers, steps } = await solve(runner, puzzle);
    assert.deepEqual([[...answers.data], [...steps]], [[4, 3, 3, 3], [2]]);
    assert.equal(litert.held.size, 1);
    await runner.close();
    assert.equal(litert.held.size, 0);
  });
}

test("an accelerator that needs JSPI is refused with the remedy", async () => {
  const run = async () => {
    throw new ReferenceError("Asyncify is not defined");
  };
  const litert = fakeLitert(contract, (signature) => ({ ...signature, run }));
  const runner = await openLitert(litert, tflite, { accelerator: "webgpu" });
  const refused = { name: "TrmError", message: /webgpu.*\{ jspi: true \}/ };
  await assert.rejects(solve(runner, puzzle), refused);
});

test("a step of LiteRT.js that fails keeps no tensor", async () => {
  const run = async () => {
    throw new Error("out of memory");
  };
  const litert = fakeLitert(contract, (signature) => ({ ...signature, run }));
  const runner = await openLitert(litert, tflite);
  await assert.rejects(solve(runner, puzzle), /out of memory/);
  assert.equal(litert.held.size, 1);
});

test("a file that is refused after the engine opened it is closed", async () => {
  const ort = fakeOrt(other);
  await assert.rejects(openOnnx(ort, onnx), /differs from its step contract/);
  assert.equal(ort.held.size, 0);
  for (const change of [() => undefined, (signature) => ({ ...signature, getInputDetails: () => [] })]) {
    const litert = fakeLitert(contract, change);
    await assert.rejects(openLitert(litert, tflite), /no signature act_step|differs from its step contract/);
    assert.equal(litert.held.size, 0);
  }
});

test("a file for the other adapter, and one for neither", async () => {
  const [ort, litert] = [fakeOrt(other), fakeLitert(contract)];
  await assert.rejects(openOnnx(ort, tflite), /^TrmError: This is a TFLite file; use openLitert\.$/);
  await assert.rejects(openLitert(litert, onnx), /^TrmError: This is an ONNX file; use openOnnx\.$/);
  for (const file of [Buffer.from("<html>"), new Uint8Array(0)]) {
    const refused = /^TrmError: This is neither an ONNX nor a TFLite file\.$/;
    await assert.rejects(openOnnx(ort, file), refused);
    await assert.rejects(openLitert(litert, file), refused);
  }
});

test("both adapters take an ArrayBuffer, as fetch gives it", async () => {
  const buffer = (file) => Uint8Array.from(file).buffer;
  assert.deepEqual((await openLitert(fakeLitert(contract), buffer(tflite))).contract, contract);
  await assert.rejects(openOnnx(fakeOrt(other), buffer(onnx)), /differs from its step contract/);
});
