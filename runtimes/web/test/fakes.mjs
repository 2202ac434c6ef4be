// A contract, files with one, and a runner and an engine that compute what a test can predict.

import { createHash } from "node:crypto";

const spec = (name, dtype, shape) => ({ name, dtype, shape });
const carried = (name, dtype, shape, fill) => ({ ...spec(name, dtype, shape), next: `${name}_next`, fill });

/** Boards of 4 cells with the token ids 0 to 7. */
export function makeContract({ batch = null, halted = "bool", ...more } = {}) {
  return {
    schema_version: 2,
    model_name: "fake",
    precision: "fp32",
    batch,
    inputs: [spec("inputs", "int32", [batch, 4])],
    carry: [
      carried("steps", "int32", [batch], 0),
      carried("halted", halted, [batch], halted === "bool" ? true : 1),
      carried("current_inputs", "int32", [batch, 4], 0),
      carried("z", "float32", [batch, 2], 0),
    ],
    outputs: [
      spec("logits", "float32", [batch, 4, 8]),
      spec("q_halt_logits", "float32", [batch]),
      spec("q_continue_logits", "float32", [batch]),
    ],
    halt: { kind: "q_halt", threshold: 0 },
    max_steps: 6,
    made_by: { tool: "test", versions: {}, weights_sha256: "", config_digest: "" },
    granularity: "step",
    passes: 1,
    alphabet: ["", ".0", "1", "2", "3", "4", "5", "6"],
    num_puzzle_identifiers: null,
    ...more,
  };
}

/** A puzzle [n, a, b, c] halts at step n, with n + (steps so far) in the first cell of its answer.
 *
 * A stale carry spoils what follows: the fake, as a graph, only drops it where `halted` is set. A
 * puzzle that begins with 7 gives NaN at step 2. `calls` has the rows and puzzles of every call. */
export function fakeRunner(contract) {
  const calls = [];
  const call = async ({ inputs }, carry) => {
    const rows = inputs.shape[0];
    calls.push(Array.from({ length: rows }, (_, row) => inputs.data[4 * row + 1]));
    const make = (dtype, shape) => ({
      dtype,
      shape: [rows, ...shape],
      data: new { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[dtype](
        rows * shape.reduce((a, b) => a * b, 1),
      ),
    });
    const halted = contract.carry.find(({ name }) => name === "halted").dtype;
    const next = {
      steps: make("int32", []),
      halted: make(halted, []),
      current_inputs: make("int32", [4]),
      z: make("float32", [2]),
    };
    const outputs = {
      logits: make("float32", [4, 8]),
      q_halt_logits: make("float32", []),
      q_continue_logits: make("float32", []),
    };
    for (let row = 0; row < rows; row++) {
      const fresh = carry.halted.data[row];
      const board = (fresh ? inputs : carry.current_inputs).data.slice(4 * row, 4 * row + 4);
      const steps = (fresh ? 0 : carry.steps.data[row]) + 1;
      const bad = (board[0] === 7 && steps === 2) || Number.isNaN(carry.z.data[2 * row]);
      next.steps.data[row] = steps;
      next.current_inputs.data.set(board, 4 * row);
      next.z.data.fill(bad ? NaN : steps, 2 * row, 2 * row + 2);
      next.halted.data[row] = Number(steps >= board[0]);
      outputs.q_halt_logits.data[row] = steps >= board[0] ? 1 : -1;
      board.forEach((id, cell) => (outputs.logits.data[32 * row + 8 * cell + ((id + steps) % 8)] = 1));
    }
    return { outputs, carry: next };
  };
  return { contract, engine: "fake 1", call, calls };
}

/** Puzzles as a tensor. */
export function boards(...rows) {
  return { inputs: { dtype: "int32", shape: [rows.length, 4], data: Int32Array.from(rows.flat()) } };
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const lengthOf = ({ length }) => (length < 128 ? [length] : [128 | (length & 127), length >> 7]);

/** A field of a protobuf message, and an entry of the metadata of an ONNX file. */
export const field = (number, bytes) => [8 * number + 2, ...lengthOf(bytes), ...bytes];
export const entry = (key, value) => field(14, [...field(1, Buffer.from(key)), ...field(2, Buffer.from(value))]);

/** An ONNX file with these fields and a right checksum. */
export function sealed(...fields) {
  const body = Buffer.from([8, 10, ...fields.flat()]);
  return Buffer.concat([body, Buffer.from(entry("trm_file.sha256", sha256(body)))]);
}

/** A TFLite file with a contract and a right checksum, and without a graph. */
export function tfliteFile(contract) {
  let file = Buffer.from("\0\0\0\0TFL3");
  const directory = [];
  const add = (name, written) => {
    const [local, listed] = [Buffer.alloc(30), Buffer.alloc(46)];
    local.writeUInt16LE(name.length, 26);
    listed.writeUInt32LE(written.length, 24);
    listed.writeUInt16LE(name.length, 28);
    listed.writeUInt32LE(file.length, 42);
    file = Buffer.concat([file, local, Buffer.from(name + written)]);
    directory.push(listed, Buffer.from(name));
  };
  add("trm_contract.json", JSON.stringify(contract));
  add("trm_file.sha256", sha256(file));
  const [entries, end] = [Buffer.concat(directory), Buffer.alloc(22)];
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(2, 10);
  end.writeUInt32LE(entries.length, 12);
  end.writeUInt32LE(file.length, 16);
  return Buffer.concat([file, entries, end]);
}

/** The module onnxruntime-web; `held` has the sessions that are open. */
export function fakeOrt(metadata) {
  const held = new Set();
  const create = async () => {
    const session = { ...metadata, release: async () => held.delete(session) };
    held.add(session);
    return session;
  };
  return { env: { versions: { web: "1" } }, InferenceSession: { create }, held };
}

/** The module @litertjs/core; `held` has the models and tensors that are not deleted.
 *
 * With another accelerator than wasm the tensors of a step can only be read as they are in 2.5.3,
 * asynchronously. `change` may put something else in the place of the signature. */
export function fakeLitert(contract, change = (signature) => signature) {
  const held = new Set();
  const keep = (made) => {
    held.add(made);
    return Object.assign(made, { delete: () => held.delete(made) });
  };
  class Tensor {
    constructor(data, shape, onDevice = false) {
      keep(Object.assign(this, { array: data, shape, onDevice }));
    }
    async data() {
      return this.array.slice();
    }
    toTypedArray() {
      if (this.onDevice) throw new Error("Cannot convert a Tensor with WebGPU memory to a TypedArray.");
      return this.array.slice();
    }
  }
  const runner = fakeRunner(contract);
  const loadAndCompile = async (bytes, { accelerator }) => {
    const run = async (feeds) => {
      const given = Object.fromEntries(Object.entries(feeds).map(([name, { array, shape }]) => [name, { data: array, shape }]));
      const { outputs, carry } = await runner.call({ inputs: given.inputs }, given);
      const next = Object.entries(carry).map(([name, tensor]) => [`${name}_next`, tensor]);
      const made = ([name, { data, shape }]) => [name, new Tensor(data, shape, accelerator !== "wasm")];
      return Object.fromEntries([...Object.entries(outputs), ...next].map(made));
    };
    const next = contract.carry.map((one) => ({ ...one, name: one.next }));
    const signature = {
      run,
      getInputDetails: () => [...contract.inputs, ...contract.carry],
      getOutputDetails: () => [...contract.outputs, ...next],
    };
    return keep({ signatures: { act_step: change(signature) } });
  };
  return { Tensor, loadAndCompile, held };
}
