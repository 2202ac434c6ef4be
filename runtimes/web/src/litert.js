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
 * `litert.loadAndCompile`, `version` is that of the engine. An accelerator on another device may need
 * `loadLiteRt(path, { jspi: true })`.
 */
export async function openLitert(litert, file, options = {}, version = "") {
  const bytes = bytesOf(file);
  if (formatOf(bytes) !== "tflite") throw new TrmError("This is an ONNX file; use openOnnx.");
  const contract = parseContract(contractText(bytes));
  refuseTypes(contract);
  const settings = { accelerator: "wasm", ...options };
  const model = await compiled(litert, bytes, settings);
  let signature;
  try {
    signature = checked(model, contract);
  } catch (error) {
    model.delete();
    throw error;
  }
  const call = async (inputs, carry) => {
    const held = []; // every tensor of the engine
    try {
      const feeds = {};
      for (const [name, { data, shape }] of Object.entries({ ...inputs, ...carry })) {
        held.push((feeds[name] = new litert.Tensor(data, shape)));
      }
      const found = await run(signature, feeds, settings);
      held.push(...Object.values(found));
      const data = {};
      for (const [name, tensor] of Object.entries(found)) data[name] = await tensor.data();
      const taken = (name, { dtype, shape }) => ({ dtype, shape, data: data[name] });
      return {
        outputs: named(contract.outputs, (spec) => taken(spec.name, spec)),
        carry: named(contract.carry, (spec) => taken(spec.next, spec)),
      };
    } finally {
      held.forEach((tensor) => tensor.delete());
    }
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

function checked(model, contract) {
  const signature = model.signatures[`act_${contract.granularity}`];
  if (!signature) throw new TrmError(`The file has no signature act_${contract.granularity}.`);
  checkEngine(contract, described(signature.getInputDetails()), described(signature.getOutputDetails()));
  return signature;
}

async function run(signature, feeds, { accelerator }) {
  try {
    return await signature.run(feeds);
  } catch (error) {
    if (!/Asyncify/.test(error?.message)) throw error; // what its build without JSPI lacks
    throw new TrmError(`The accelerator ${accelerator} needs loadLiteRt(path, { jspi: true }).`);
  }
}

function described(details) {
  return new Map(details.map(({ name, dtype, shape }) => [name, `${dtype} ${[...shape]}`]));
}
