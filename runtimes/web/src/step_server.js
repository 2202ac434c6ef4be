// A step server (docs/contract.md): messages, and the answers to them. Knows no engine and no pipe.

import { TrmError } from "./errors.js";
import { solve, STOP_REASONS } from "./loop.js";
import { parseStrict } from "./strict_json.js";
import { CHOOSE, MOST } from "./tries.js";
import { ARRAYS, checkStepCall, checkStepOutput, named, rowSize } from "./tensors.js";

const MAX_LINE = 1 << 16;
const MAX_BYTES = 1 << 30; // of a request
const LONGEST = 2000; // characters of an error
const WHOLE = ["rows", "slots", "max_steps", "tries", "seed"]; // keys of a request
const ANSWERS = new Map([["step", replyToStep], ["solve", replyToSolve]]);

/** A message as bytes: the line of `head`, then the data of tensors. */
export function packed(head, arrays = []) {
  const parts = arrays.map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength));
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const line = new TextEncoder().encode(`${JSON.stringify({ ...head, bytes })}\n`);
  const message = new Uint8Array(line.length + bytes);
  [line, ...parts].reduce((at, part) => (message.set(part, at), at + part.length), 0);
  return message;
}

/** The first message of a server. */
export function hello(runner, driver) {
  const contract = new TextEncoder().encode(JSON.stringify(runner.contract));
  const head = { protocol: "trm-step-server", version: 1, driver, engine: runner.engine, tries: MOST, choose: CHOOSE };
  return packed(head, [contract]);
}

/** An error as a message. */
export function refusal(error) {
  const text = [...String(error?.message ?? error)].slice(0, LONGEST).join("");
  return packed({ error: text, exit_code: error instanceof TrmError ? error.exitCode : 1 });
}

/** The messages in a stream of bytes, as { line, head, decimals, data }; refuses what is none.
 *
 * `line` is that of the head as it came, `decimals` are the keys of numbers that are not written as whole
 * ones. */
export async function* messages(stream) {
  const chunks = stream[Symbol.asyncIterator]();
  let held = new Uint8Array(0);
  const more = async (what) => {
    const { value, done } = await chunks.next();
    if (done) throw new TrmError(`The input ends in the middle of ${what}.`);
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held);
    joined.set(value, held.length);
    held = joined;
  };
  for (;;) {
    if (!held.length) {
      const { value, done } = await chunks.next();
      if (done) return;
      held = value;
      continue;
    }
    let end;
    while ((end = held.indexOf(10)) < 0 && held.length < MAX_LINE) await more("a line");
    if (end < 0 || end >= MAX_LINE) throw new TrmError(`A line is longer than ${MAX_LINE} bytes.`);
    const line = held.subarray(0, end + 1);
    const { head, decimals } = headOf(line);
    held = held.subarray(end + 1);
    const data = new Uint8Array(head.bytes);
    for (let at = 0; at < head.bytes; ) {
      if (!held.length) await more("a message");
      const part = held.subarray(0, head.bytes - at);
      data.set(part, at);
      [at, held] = [at + part.length, held.subarray(part.length)];
    }
    yield { line, head, decimals, data };
  }
}

/** The object of a line; refuses one without a number of bytes. */
function headOf(line) {
  const { value: head, decimals } = parseStrict(textOf(line), "A message");
  const isSize = Number.isSafeInteger(head?.bytes) && !decimals.has("bytes");
  if (isSize && head.bytes >= 0 && head.bytes <= MAX_BYTES) return { head, decimals };
  throw new TrmError(`A message has no "bytes" from 0 to ${MAX_BYTES}.`);
}

function textOf(line) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  } catch {
    throw new TrmError("A message is not valid JSON: it is not UTF-8.");
  }
}

/** The reply to a request, as bytes; an error if it is refused. */
export async function replyTo(runner, { head, decimals, data }) {
  try {
    const answer = ANSWERS.get(head.request);
    if (!answer) throw new TrmError(`Expected the request step or solve, got ${JSON.stringify(head.request)}.`);
    const other = WHOLE.find((key) => decimals.has(key));
    if (other) {
      const text = `${other}: expected a whole number, without a fraction or an exponent.`;
      throw new TrmError(text, other === "rows" ? 4 : 2); // the others are options
    }
    return packed({ reply: head.request, rows: head.rows }, await answer(runner, head, data));
  } catch (error) {
    return refusal(error);
  }
}

async function replyToStep({ contract, call }, { rows }, data) {
  const { inputs, carry } = contract;
  if (contract.batch !== null && rows !== contract.batch) {
    throw new TrmError(`rows: expected ${contract.batch}, the fixed batch, got ${rows}.`);
  }
  const tensors = unpacked([...inputs, ...carry], rows, data);
  const [given, state] = [inputs, carry].map((specs) => named(specs, ({ name }) => tensors[name]));
  checkStepCall(contract, given, state);
  const result = await call(given, state);
  checkStepOutput(contract, result, rows);
  return [
    ...contract.outputs.map(({ name }) => result.outputs[name].data),
    ...carry.map(({ name }) => result.carry[name].data),
  ];
}

async function replyToSolve(runner, head, data) {
  const { slots, halt, deadline, rows, max_steps: maxSteps, tries, vary, choose, seed, sigma } = head;
  const puzzles = unpacked(runner.contract.inputs, rows, data);
  const options = { slots, halt, deadline, maxSteps, tries, vary, choose, seed, sigma };
  const found = await solve(runner, puzzles, options);
  const reasons = Int32Array.from(found.reasons, (reason) => STOP_REASONS.indexOf(reason));
  const arrays = [found.answers.data, found.steps, reasons];
  if (!(tries > 1)) return arrays;
  const once = found.steps.map((steps) => Number(steps > 0)); // where the model has one guise
  return [...arrays, found.tries ?? once, found.totalSteps ?? found.steps, found.chosen ?? new Int32Array(rows)];
}

function unpacked(specs, rows, data) {
  if (!Number.isSafeInteger(rows) || rows < 1) throw new TrmError(`rows: expected 1 or more, got ${rows}.`);
  const sizes = specs.map((spec) => rows * rowSize(spec) * ARRAYS[spec.dtype].BYTES_PER_ELEMENT);
  const wanted = sizes.reduce((sum, size) => sum + size, 0);
  if (data.length !== wanted) throw new TrmError(`Expected ${wanted} bytes, got ${data.length}.`);
  let at = 0;
  const tensors = specs.map((spec, i) => {
    const bytes = data.slice(at, (at += sizes[i])); // a copy, so that elements are aligned
    if (spec.dtype === "bool" && bytes.some((byte) => byte > 1)) {
      throw new TrmError(`${spec.name}: expected 0 or 1 in a bool.`);
    }
    const array = new ARRAYS[spec.dtype](bytes.buffer);
    return [spec.name, { dtype: spec.dtype, shape: [rows, ...spec.shape.slice(1)], data: array }];
  });
  return Object.fromEntries(tensors);
}
