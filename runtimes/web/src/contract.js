// The step contract: reading its JSON, and every rule of docs/contract.md. Knows no engine.

import { TrmError, refuseIf } from "./errors.js";
import { parseStrict } from "./strict_json.js";

const NEWEST = 2;
const DTYPES = ["float32", "int32", "bool", "int8"];
const GRANULARITIES = ["step", "loop", "block"];
const HALT_KINDS = ["q_halt", "q_halt_minus_q_continue"];
const FILLS = new Map([["bool", "boolean"], ["int32", "whole"], ["int8", "whole"]]); // by dtype
const LARGEST = { number: 1e300, float32: 3.4028234663852886e38, int32: 2 ** 31 - 1, int8: 127 };
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const SHA256 = /^[0-9a-f]{64}$/;

// Key to type; a type that ends in ? may be null, a key that ends in ? may be missing.
const TENSOR = { name: "text", dtype: DTYPES, shape: ["whole?"] };
const GRID = { scale: "number", zero_point: "whole" }; // of int8 tensors
const HALT = { kind: HALT_KINDS, threshold: "number", "trained?": "number?", "settled?": "number?" };
const MADE_BY = { tool: "text", versions: "texts", weights_sha256: "text", config_digest: "text" };
const CONTRACT = {
  schema_version: "whole",
  model_name: "text",
  precision: "text",
  batch: "whole?",
  inputs: [tensor],
  carry: [carried],
  outputs: [tensor],
  halt: HALT,
  max_steps: "whole",
  made_by: MADE_BY,
  granularity: GRANULARITIES,
  passes: "whole",
  alphabet: "list?",
  num_puzzle_identifiers: "whole?",
  "puzzle_table_sha256?": "text?",
  "confidence?": "confidence?",
  "symmetries?": "symmetries?",
};

// Dtypes and axes of the tensors that are always there: batch, cells, vocabulary, width.
const INPUTS = {
  inputs: ["int32", "BS"],
  puzzle_identifiers: ["int32", "B"],
  puzzle_embedding: ["float32", "BW"],
};
const HEADS = {
  logits: ["float32", "BSV"],
  q_halt_logits: ["float32", "B"],
  q_continue_logits: ["float32", "B"],
};
const STATE = { steps: ["int32", "B"], halted: ["bool", "B"] };
const RESULTS = { answers: ["int32", "BS"], steps: ["int32", "B"] }; // of a loop

/** The contract in a JSON text, as a plain object; refuses with every rule that it breaks. */
export function parseContract(text) {
  const { value, decimals } = parseStrict(text, "The step contract");
  const version = value?.schema_version;
  if (Number.isInteger(version) && version > NEWEST) {
    throw new TrmError(`The step contract has schema_version ${version}; upgrade trm-runtime-web.`);
  }
  const problems = [];
  checkType(value, CONTRACT, "", problems, decimals);
  if (![1, NEWEST].includes(version)) problems.push("schema_version: expected 1 or 2");
  if (!problems.length) problems.push(...tensorProblems(value), ...ruleProblems(value));
  refuseIf(problems, "The step contract is not valid:");
  return value;
}

/** The model's own float32 carry, in the order of the contract. */
export function ownStates({ inputs, carry }) {
  const always = [...Object.keys(STATE), "passes", ...inputs.map(({ name }) => `current_${name}`)];
  return carry.filter(({ name, dtype }) => dtype === "float32" && !always.includes(name));
}

/** S, the cells of a puzzle, and V, the number of token ids. */
export function sizesOf(contract) {
  const find = (role, name) => contract[role].find((spec) => spec.name === name);
  return { cells: find("inputs", "inputs").shape[1], ids: find("outputs", "logits").shape[2] };
}

function tensor(value) {
  return value?.dtype === "int8" ? { ...TENSOR, ...GRID } : TENSOR;
}

function carried(value) {
  return { ...tensor(value), next: "text", fill: FILLS.get(value?.dtype) ?? "number" };
}

function checkType(value, type, path, problems, decimals) {
  if (Array.isArray(type) && typeof type[0] !== "string") {
    if (!Array.isArray(value)) return problems.push(`${path}: expected a list`);
    return value.forEach((item, i) =>
      checkType(item, type[0](item), `${path}[${i}]`, problems, decimals),
    );
  }
  if (Array.isArray(type) && type.length > 1) {
    return type.includes(value) || problems.push(`${path}: expected one of ${type.join(", ")}`);
  }
  if (typeof type === "object" && !Array.isArray(type)) {
    return checkObject(value, type, path, problems, decimals);
  }
  const name = Array.isArray(type) ? "sizes" : type.replace("?", "");
  const nullable = !Array.isArray(type) && type.endsWith("?");
  const whole = (item, at) => Number.isSafeInteger(item) && !decimals.has(at);
  const wholes = (key) =>
    Array.isArray(value[key]) &&
    value[key].every(
      (list, i) => Array.isArray(list) && list.every((item, j) => whole(item, `${path}.${key}[${i}][${j}]`)),
    );
  const fits = {
    text: () => typeof value === "string",
    boolean: () => typeof value === "boolean",
    whole: () => whole(value, path),
    number: () => typeof value === "number" && Math.abs(value) <= LARGEST.number,
    list: () => Array.isArray(value) && value.every((item) => typeof item === "string"),
    sizes: () =>
      Array.isArray(value) && value.every((item, i) => item === null || whole(item, `${path}[${i}]`)),
    symmetries: () =>
      isObject(value) && String(Object.keys(value).sort()) === "positions,tokens" && wholes("positions") && wholes("tokens"),
    confidence: () =>
      isObject(value) &&
      String(Object.keys(value).sort()) === "agreement,bias,moved,puzzles,score,tries" &&
      Object.values(value).every((item) => typeof item === "number" && Math.abs(item) <= LARGEST.number) &&
      ["puzzles", "tries"].every((key) => whole(value[key], `${path}.${key}`) && value[key] >= 1),
    texts: () => isObject(value) && Object.values(value).every((item) => typeof item === "string"),
  }[name];
  if (!(nullable && value === null) && !fits()) {
    problems.push(`${path}: expected ${name}, got ${JSON.stringify(value)?.slice(0, 60)}`);
  }
}

function checkObject(value, type, path, problems, decimals) {
  if (!isObject(value)) return problems.push(`${path || "The contract"}: expected an object`);
  const at = (key) => (path ? `${path}.${key}` : key);
  const known = Object.keys(type).map((key) => key.replace("?", ""));
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) problems.push(`${at(key)}: unknown key`);
  }
  for (const [key, inner] of Object.entries(type)) {
    const name = key.replace("?", "");
    if (Object.hasOwn(value, name)) checkType(value[name], inner, at(name), problems, decimals);
    else if (!key.endsWith("?")) problems.push(`${at(name)}: missing`);
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tensorProblems({ batch, inputs, carry, outputs }) {
  const problems = batch === null || batch >= 1 ? [] : ["batch: expected 1 or more"];
  for (const { name, dtype, shape, scale, zero_point, next, fill } of [...inputs, ...carry, ...outputs]) {
    const refuse = (wrong, text) => wrong && problems.push(`${name || "a tensor"}: ${text}`);
    refuse(!name, "its name is empty");
    refuse(!shape.length || shape[0] !== batch, "axis 0 is not the batch of the contract");
    refuse(shape.slice(1).some((size) => size === null || size < 1), "expected sizes of 1 or more");
    refuse(dtype === "int8" && !(scale > 0), "expected a scale above 0");
    refuse(dtype === "int8" && !(zero_point >= -128 && zero_point <= 127), "a wrong zero_point");
    refuse(next !== undefined && next !== `${name}_next`, `next must be ${name}_next`);
    const least = -(LARGEST[dtype] + (dtype === "float32" ? 0 : 1));
    refuse(typeof fill === "number" && !(fill >= least && fill <= LARGEST[dtype]), "fill is out of range");
  }
  const names = [...[...inputs, ...carry, ...outputs].map((s) => s.name), ...carry.map((s) => s.next)];
  const twice = new Set(names.filter((name, i) => names.indexOf(name) < i));
  return [...problems, ...[...twice].map((name) => `${name}: several tensors have this name`)];
}

function ruleProblems(contract) {
  const { granularity, inputs, carry, outputs, halt, passes, alphabet } = contract;
  const problems = [];
  const refuse = (wrong, text) => wrong && problems.push(text);
  const given = inputs.map((spec) => spec.name);
  const required = Object.fromEntries(
    Object.entries(INPUTS).filter(([name]) => given.includes(name) || name === "inputs"),
  );
  given.forEach((name) => refuse(!Object.hasOwn(INPUTS, name), `${name}: unknown input`));
  const current = Object.entries(required).map(([name, kind]) => [`current_${name}`, kind]);
  const state = { ...STATE, ...Object.fromEntries(current) };
  if (granularity === "block") state.passes = STATE.steps;
  const isLoop = granularity === "loop";
  expect(contract, "inputs", required, problems);
  expect(contract, "carry", isLoop ? {} : state, problems);
  expect(contract, "outputs", isLoop ? { ...HEADS, ...RESULTS } : HEADS, problems);
  refuse(isLoop && carry.length, "carry: a loop has none");
  const fill = (name) => carry.find((spec) => spec.name === name)?.fill ?? null;
  refuse(![null, true, 1].includes(fill("halted")), "halted: fill must be true");
  refuse(granularity === "block" && fill("passes") !== 0, "passes: fill must be 0");
  refuse(contract.max_steps < 1, "max_steps: expected 1 or more");
  refuse(passes < 1 || (passes > 1 && granularity !== "block"), "passes: expected 1, or more in a block");
  refuse(isLoop && (halt.trained ?? null) !== null, "halt.trained: expected null in a loop");
  refuse(isLoop && (halt.settled ?? null) !== null, "halt.settled: expected null in a loop");
  refuse((halt.settled ?? 1) <= 0, "halt.settled: expected a number above 0");
  refuse(isLoop && (contract.confidence?.moved ?? 0) !== 0, "confidence.moved: expected 0 in a loop");
  identifierProblems(contract, given, refuse);
  if (alphabet) alphabetProblems(alphabet, outputs.find((s) => s.name === "logits"), refuse);
  symmetryProblems(contract, refuse);
  const { model_name, precision, made_by } = contract;
  const { versions, ...made } = made_by;
  const texts = [model_name, precision, ...Object.values(made), ...Object.entries(versions).flat()];
  const names = [...inputs, ...carry, ...outputs].map((spec) => spec.name);
  refuse(UNPRINTABLE.test([...texts, ...names].join("")), "a text has characters that cannot be printed");
  return problems;
}

function expect(contract, role, wanted, problems) {
  const size = (list, name, axis) => list.find((spec) => spec.name === name)?.shape[axis] ?? 0;
  const { batch, inputs, outputs } = contract;
  const sizes = {
    B: batch,
    S: size(inputs, "inputs", 1),
    V: size(outputs, "logits", 2),
    W: size(inputs, "puzzle_embedding", 1),
  };
  for (const [name, [dtype, axes]] of Object.entries(wanted)) {
    const spec = contract[role].find((found) => found.name === name);
    const shape = [...axes].map((axis) => sizes[axis]);
    const dtypes = [dtype, ...(role === "inputs" ? [] : { float32: ["int8"], bool: ["int32"] }[dtype] ?? [])];
    if (!spec) problems.push(`${name}: missing in ${role}`);
    else if (!dtypes.includes(spec.dtype) || String(spec.shape) !== String(shape)) {
      problems.push(`${name}: expected ${dtype} (${shape}), got ${spec.dtype} (${spec.shape})`);
    }
  }
}

function identifierProblems({ num_puzzle_identifiers: count, puzzle_table_sha256: table }, given, refuse) {
  const [ids, rows] = ["puzzle_identifiers", "puzzle_embedding"].map((name) => given.includes(name));
  refuse(ids && rows, "puzzle_embedding: expected this input or puzzle_identifiers, got both");
  refuse(rows ? !SHA256.test(table ?? "") : (table ?? null) !== null, "puzzle_table_sha256: wrong");
  refuse(ids || rows ? !(count >= 1) : count !== null, "num_puzzle_identifiers: wrong");
}

function symmetryProblems({ symmetries, inputs, outputs }, refuse) {
  const sizeOf = (specs, name, axis) => specs.find((spec) => spec.name === name)?.shape[axis];
  const cells = sizeOf(inputs, "inputs", 1);
  const ids = sizeOf(outputs, "logits", 2);
  const differ = (list, most) => list.every((item) => item >= 0 && item < most) && new Set(list).size === list.length;
  const { positions = [], tokens = [] } = symmetries ?? {};
  const moves = positions.every((order) => order.length === cells && differ(order, cells));
  refuse(!moves, "symmetries.positions: expected permutations of the cells");
  const renames = tokens.every((list) => list.length > 1) && differ(tokens.flat(), ids);
  refuse(!renames, "symmetries.tokens: expected classes of 2 or more token ids, each id once");
}

function alphabetProblems(alphabet, logits, refuse) {
  refuse(alphabet.length !== logits?.shape[2], "alphabet: expected one entry a token id");
  const characters = [...alphabet.join("")];
  refuse(new Set(characters).size !== characters.length, "alphabet: a character is in two entries");
  refuse(UNPRINTABLE.test(alphabet.join("")), "alphabet: a character cannot be printed");
}
