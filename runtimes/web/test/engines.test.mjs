// The adapters of both engines, which are fakes here: what they refuse.

import assert from "node:assert/strict";
import test from "node:test";

import { openLitert, openOnnx } from "../src/index.js";
import { entry, fakeLitert, fakeOrt, makeContract, sealed, tfliteFile } from "./fakes.mjs";

const contract = makeContract({ batch: 1, halted: "int32" });
const onnx = sealed(entry("trm_contract", JSON.stringify(contract)));
const tflite = tfliteFile(contract);
const other = { inputMetadata: [], outputMetadata: [] };

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
