// ONNX files by onnxruntime-web, in browsers and in node. The caller passes the engine in:
//   import * as ort from "onnxruntime-web"; const runner = await openOnnx(ort, bytes);

import { parseContract } from "./contract.js";
import { firstLine, TrmError } from "./errors.js";
import { bytesOf, contractText, formatOf } from "./file.js";
import { checkEngine, named } from "./tensors.js";

/**
 * A runner of an ONNX file. `options` are those of `ort.InferenceSession.create`.
 *
 * Refuses a damaged file before the engine sees it, and one whose graph differs from its contract.
 */
export async function openOnnx(ort, file, options = {}) {
  const bytes = bytesOf(file);
  if (formatOf(bytes) !== "onnx") throw new TrmError("This is a TFLite file; use openLitert.");
  const contract = parseContract(contractText(bytes));
  const session = await created(ort, bytes, { executionProviders: ["wasm"], ...options });
  try {
    checkEngine(contract, described(session.inputMetadata), described(session.outputMetadata));
  } catch (error) {
    await session.release();
    throw error;
  }
  const call = async (inputs, carry) => {
    const feeds = Object.entries({ ...inputs, ...carry }).map(([name, { dtype, data, shape }]) => [
      name,
      new ort.Tensor(dtype, data, shape),
    ]);
    const found = await session.run(Object.fromEntries(feeds));
    const taken = (name) => {
      const { type, dims, data } = found[name];
      return { dtype: type, shape: [...dims], data };
    };
    return {
      outputs: named(contract.outputs, ({ name }) => taken(name)),
      carry: named(contract.carry, ({ next }) => taken(next)),
    };
  };
  const engine = `onnxruntime-web ${ort.env.versions.web}`;
  return { contract, engine, call, close: () => session.release() };
}

async function created(ort, bytes, options) {
  try {
    return await ort.InferenceSession.create(bytes, options);
  } catch (error) {
    throw new TrmError(`onnxruntime-web cannot open the file: ${firstLine(error)}`);
  }
}

function described(metadata) {
  const sizes = (shape) => shape.map((size) => (typeof size === "number" ? size : "?"));
  const dtype = (type) => (type === "float32" || type === "float" ? "float32" : type);
  return new Map(metadata.map(({ name, type, shape }) => [name, `${dtype(type)} ${sizes(shape)}`]));
}
