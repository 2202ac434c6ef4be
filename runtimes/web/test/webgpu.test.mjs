// What a page refuses that asks for WebGPU: no adapter, and calls that an engine makes without it.

import assert from "node:assert/strict";
import test from "node:test";

import { adapterName, onGpu } from "../browser/webgpu.js";
import { makeContract } from "./fakes.mjs";

/** An engine that dispatches so often in each of its calls, and the class of the page that it does it with. */
function fake(...dispatches) {
  class Encoder {
    sizes = [];
    dispatchWorkgroups(...sizes) {
      this.sizes.push(sizes);
    }
    dispatchWorkgroupsIndirect() {}
  }
  const encoder = new Encoder();
  const call = async (inputs, carry) => {
    for (let count = dispatches.shift(); count > 0; count--) encoder.dispatchWorkgroups(count, 2);
    return { inputs, carry };
  };
  return { Encoder, encoder, runner: { contract: makeContract({ batch: 2 }), engine: "an engine 1.0", call } };
}

const WITHOUT = { name: "TrmError", exitCode: 3, message: /^an engine 1\.0 has computed a call without WebGPU;/ };

test("the engine is named with the adapter and its dispatches", async () => {
  const { Encoder, encoder, runner } = fake(3, 1);
  const found = await onGpu(runner, "some gpu", Encoder);
  assert.equal(found.engine, "an engine 1.0 on WebGPU (some gpu, 3 dispatches a call)");
  assert.deepEqual(await found.call("the inputs", "the carry"), { inputs: "the inputs", carry: "the carry" });
  assert.deepEqual(encoder.sizes, [[3, 2], [2, 2], [1, 2], [1, 2]]);
});

test("an engine that does not use the GPU is refused, at once or later", async () => {
  const never = fake(0);
  await assert.rejects(onGpu(never.runner, "some gpu", never.Encoder), WITHOUT);
  const once = fake(2, 0);
  const found = await onGpu(once.runner, "some gpu", once.Encoder);
  await assert.rejects(found.call({}, {}), WITHOUT);
});

test("a browser without an adapter is refused, and a page that gets none", async (t) => {
  const given = (value) => Object.defineProperty(globalThis, "navigator", { value, configurable: true });
  const before = globalThis.navigator;
  t.after(() => (given(before), delete globalThis.isSecureContext));
  globalThis.isSecureContext = false;
  given({});
  await assert.rejects(adapterName(), { exitCode: 3, message: /pages of localhost or with TLS only/ });
  globalThis.isSecureContext = true;
  given({ gpu: { requestAdapter: async () => null } });
  await assert.rejects(adapterName(), { exitCode: 3, message: /no WebGPU adapter/ });
  given({ gpu: { requestAdapter: async () => ({ info: { vendor: "google", architecture: "swiftshader" } }) } });
  assert.equal(await adapterName(), "google swiftshader");
  given({ gpu: { requestAdapter: async () => ({}) } }); // a browser that is older than the info
  assert.equal(await adapterName(), "unnamed");
  given({ gpu: { requestAdapter: async () => Promise.reject(new Error("lost")) } });
  await assert.rejects(adapterName(), { exitCode: 3, message: /no WebGPU adapter/ });
});
