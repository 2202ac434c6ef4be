// TFLite files by LiteRT.js, in browsers. The caller loads the engine and passes it in:
//   import * as litert from "@litertjs/core"; await litert.loadLiteRt("wasm/");
//   const runner = await openLitert(litert, bytes);

import { parseContract } from "./contract.js";
import { firstLine, TrmError } from "./errors.js";
import { bytesOf, contractText, formatOf } from "./file.js";
import { checkEngine, named } from "./tensors.js";

const KNOWN = ["float32", "int32"]; // dtypes that LiteRT.js takes

/**
 * A runner of a TFLite file with a fixed batch and no tensor but float32 and int32, which
 * `trm-export tflite --ports int32` writes (a loop has no others). `options` are those of
 * `litert.loadAndCompile`, `version` is that of the engine.
 */
export async function openLitert(litert, file, options = {}, version = "") {
  const bytes = bytesOf(file);
  if (formatOf(bytes) !== "tflite") throw new TrmError("This is an ONNX file; use openOnnx.");
  const contract = parseContract(contractText(bytes));
  refuseTypes(contract);
  const model = await compiled(litert, bytes, { accelerator: "wasm", ...options });
  const signature = model.signatures[`act_${contract.granularity}`];
  if (!signature) throw new TrmError(`The file has no signature act_${contract.granularity}.`);
  checkEngine(contract, described(signature.getInputDetails()), described(signature.getOutputDetails()));
  const call = async (inputs, carry) => {
    const feeds = Object.entries({ ...inputs, ...carry }).map(([name, { data, shape }]) => [
      name,
      new litert.Tensor(data, shape),
    ]);
    const found = await signature.run(Object.fromEntries(feeds));
    const taken = (name, { dtype, shape }) => ({ dtype, shape, data: found[name].toTypedArray().slice() });
    const result = {
      outputs: named(contract.outputs, (spec) => taken(spec.name, spec)),
      carry: named(contract.carry, (spec) => taken(spec.next, spec)),
    };
    [...feeds.map(([, tensor]) => tensor), ...Object.values(found)].forEach((tensor) => tensor.delete());
    return result;
  };
  return { contract, engine: `LiteRT.js ${version}`.trim(), call, close: () => model.delete() };
}

function refuseTypes({ batch, inputs, carry, outputs }) {
  if (batch === null) throw new TrmError("LiteRT.js needs a fixed batch; export with --batch 1.");
  const found = [...inputs, ...carry, ...outputs].find(({ dtype }) => !KNOWN.includes(dtype));
  if (!found) return;
  const remedy = found.dtype === "bool" ? "export with --ports int32" : "export without --integer-io";
  throw new TrmError(`LiteRT.js has no ${found.dtype} tensors (${found.name}); ${remedy}.`);
}

async function compiled(litert, bytes, options) {
  try {
    return await litert.loadAndCompile(bytes, options);
  } catch (error) {
    throw new TrmError(`LiteRT.js cannot open the file: ${firstLine(error)}`);
  }
}

function described(details) {
  return new Map(details.map(({ name, dtype, shape }) => [name, `${dtype} ${[...shape]}`]));
}
