// WebGPU in a page: refuses a browser without it, and a call that an engine has computed without it.
//
// The engines give an operator that they have no GPU kernel for to WebAssembly and do not say so. Their work
// on the GPU passes through the page, where it is counted.

import { TrmError } from "../src/errors.js";
import { filled, named, startCarry } from "../src/tensors.js";

const MISSING = 3; // docs/exit-codes.md: an engine that is not there

const NO_ADAPTER = "This browser has no WebGPU adapter; use --accelerator wasm.";
const NOT_SECURE =
  "A browser gives WebGPU to pages of localhost or with TLS only; forward the port to the device and open " +
  "http://localhost there.";

/** The adapter of the browser in words; refuses to go on without one. */
export async function adapterName() {
  const adapter = await globalThis.navigator?.gpu?.requestAdapter().catch(() => null);
  if (adapter) return [adapter.info?.vendor, adapter.info?.architecture].filter(Boolean).join(" ") || "unnamed";
  throw new TrmError(globalThis.isSecureContext ? NO_ADAPTER : NOT_SECURE, MISSING);
}

/** The runner after a call of padding alone, with the adapter and the dispatches of that call in its name.
 *
 * Every call, this one too, is refused if nothing was dispatched to the GPU in it. */
export async function onGpu(runner, adapter, encoder = globalThis.GPUComputePassEncoder) {
  const { contract } = runner;
  let dispatches = 0;
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
    const dispatch = encoder.prototype[name];
    encoder.prototype[name] = function (...sizes) {
      dispatches++;
      return dispatch.apply(this, sizes);
    };
  }
  const call = async (inputs, carry) => {
    const before = dispatches;
    const result = await runner.call(inputs, carry);
    if (dispatches > before) return result;
    throw new TrmError(`${runner.engine} has computed a call without WebGPU; use --accelerator wasm.`, MISSING);
  };
  const rows = contract.batch ?? 1;
  await call(named(contract.inputs, (spec) => filled(spec, rows)), startCarry(contract, rows));
  return { ...runner, call, engine: `${runner.engine} on WebGPU (${adapter}, ${dispatches} dispatches a call)` };
}
