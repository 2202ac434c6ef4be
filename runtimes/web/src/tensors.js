// Tensors as { dtype, shape, data }, batch on axis 0, and the checks before and after every call.
// A bool tensor is a Uint8Array of 0 and 1. Knows the contract; knows no engine.

import { refuseIf, TrmError } from "./errors.js";
import { sizesOf } from "./contract.js";

export const ARRAYS = {
  float32: Float32Array,
  int32: Int32Array,
  bool: Uint8Array,
  int8: Int8Array,
};

/** The elements of one row of a tensor. */
export function rowSize(spec) {
  return spec.shape.slice(1).reduce((product, size) => product * size, 1);
}

/** A tensor of the contract with so many rows, every element of it `fill`. */
export function filled(spec, rows, fill = 0) {
  const data = new ARRAYS[spec.dtype](rows * rowSize(spec)).fill(Number(fill));
  return { dtype: spec.dtype, shape: [rows, ...spec.shape.slice(1)], data };
}

/** The carry before the first call. */
export function startCarry(contract, rows) {
  return named(contract.carry, (spec) => filled(spec, rows, spec.fill));
}

/** An object with a value for each tensor, by name. */
export function named(specs, valueOf) {
  return Object.fromEntries(specs.map((spec) => [spec.name, valueOf(spec)]));
}

/** The data of one row, which shares memory with the tensor. */
export function row(tensor, index) {
  const size = tensor.data.length / tensor.shape[0];
  return tensor.data.subarray(index * size, (index + 1) * size);
}

/** A tensor of these rows of another, in this order. */
export function takeRows(tensor, rows) {
  const size = tensor.data.length / tensor.shape[0];
  const data = new tensor.data.constructor(rows.length * size);
  rows.forEach((index, i) => data.set(row(tensor, index), i * size));
  return { dtype: tensor.dtype, shape: [rows.length, ...tensor.shape.slice(1)], data };
}

/** A tensor of the contract with so many rows more, which are `fill`. */
export function grown(spec, tensor, rows) {
  const found = filled(spec, tensor.shape[0] + rows, spec.fill);
  found.data.set(tensor.data);
  return found;
}

/** The real number that an element stands for, in float32. */
export function real(spec, element) {
  if (spec.dtype !== "int8") return element;
  return Math.fround(Math.fround(element - spec.zero_point) * Math.fround(spec.scale));
}

/** The smallest index of the largest element of each cell: (S, V) to S token ids. */
export function largest(logits, cells) {
  const ids = logits.length / cells;
  return Int32Array.from({ length: cells }, (_, cell) => {
    let best = cell * ids;
    for (let i = best + 1; i < (cell + 1) * ids; i++) if (logits[i] > logits[best]) best = i;
    return best - cell * ids;
  });
}

/** Whether every float32 tensor of a row is finite. */
export function isFinite32(contract, outputs, carry, index) {
  const roles = [[contract.outputs, outputs], [contract.carry, carry]];
  return roles.every(([specs, tensors]) =>
    specs.every((spec) => spec.dtype !== "float32" || row(tensors[spec.name], index).every(Number.isFinite)),
  );
}

/** Refuses inputs that do not fit the contract: names, dtypes, shapes, ids, NaN, padding. */
export function checkInputs(contract, inputs, rows = inputs.inputs?.shape?.[0]) {
  const problems = shapeProblems("input", contract.inputs, inputs, rows);
  if (!problems.length && !rows) problems.push("inputs: expected 1 or more rows");
  if (!problems.length) {
    problems.push(...contract.inputs.flatMap((s) => valueProblems(contract, s, inputs[s.name])));
  }
  refuseIf(problems, "The puzzles do not fit the model:");
}

/** Refuses puzzles with padding (id 0) before one of their cells, such as digits given as ids, or alone. */
export function refusePadding(contract, inputs) {
  if (contract.alphabet?.[0] !== "") return;
  for (let index = 0; index < inputs.shape[0]; index++) {
    const cells = row(inputs, index);
    const column = cells.indexOf(0);
    if (column === 0 || (column > 0 && cells.subarray(column).some((id) => id > 0))) {
      throw new TrmError(`The puzzles contain id 0, which is padding: row ${index}, column ${column}.`);
    }
  }
}

/** Refuses what a step must not be called with. */
export function checkStepCall(contract, inputs, carry) {
  checkInputs(contract, inputs, contract.batch ?? inputs.inputs?.shape?.[0]);
  const problems = shapeProblems("carry", contract.carry, carry, inputs.inputs.shape[0]);
  refuseIf(problems, "The carry does not fit the model:");
}

/** Refuses what a step must not return. */
export function checkStepOutput(contract, { outputs, carry }, rows) {
  const problems = [
    ...shapeProblems("output", contract.outputs, outputs, rows),
    ...shapeProblems("next carry", contract.carry, carry, rows),
  ];
  refuseIf(problems, "A step returned other tensors than its contract:");
}

/** Refuses an engine whose tensors are not those of the contract, with every difference.
 *
 * What is found is name to "dtype sizes", in which "?" is an open size. */
export function checkEngine(contract, foundInputs, foundOutputs) {
  const text = (spec) => `${spec.dtype} ${spec.shape.map((size) => size ?? "?")}`;
  const pairs = (key, ...roles) => roles.flatMap((r) => contract[r].map((s) => [s[key], text(s)]));
  const wanted = [
    [new Map(pairs("name", "inputs", "carry")), foundInputs],
    [new Map([...pairs("name", "outputs"), ...pairs("next", "carry")]), foundOutputs],
  ];
  const problems = wanted.flatMap(([specs, found]) => [
    ...[...found.keys()].filter((name) => !specs.has(name)).map((name) => `${name}: the contract lacks it`),
    ...[...specs].flatMap(([name, spec]) => {
      if (!found.has(name)) return [`${name}: the engine lacks it`];
      return spec === found.get(name) ? [] : [`${name}: expected ${spec}, got ${found.get(name)}`];
    }),
  ]);
  refuseIf(problems, "The file differs from its step contract:");
}

function shapeProblems(role, specs, tensors, rows) {
  const names = specs.map((spec) => spec.name);
  const unknown = Object.keys(tensors).filter((name) => !names.includes(name));
  const problems = unknown.map((name) => `${role} ${name}: unknown; expected ${names.join(", ")}`);
  for (const spec of specs) {
    const found = Object.hasOwn(tensors, spec.name) ? tensors[spec.name] : undefined;
    const wanted = [rows, ...spec.shape.slice(1)];
    const [array, size] = [ARRAYS[spec.dtype], rows * rowSize(spec)];
    const refuse = (text) => problems.push(`${role} ${spec.name}: ${text}`);
    if (!found) refuse("missing");
    else if (found.dtype !== spec.dtype) refuse(`expected dtype ${spec.dtype}, got ${found.dtype}`);
    else if (!(found.data instanceof array)) {
      refuse(`expected data of type ${array.name}, got ${found.data?.constructor?.name ?? found.data}`);
    } else if (String(found.shape) !== String(wanted)) refuse(`expected shape (${wanted}), got (${found.shape})`);
    else if (found.data.length !== size) refuse(`expected ${size} elements, got ${found.data.length}`);
  }
  return problems;
}

function valueProblems(contract, spec, { data }) {
  if (spec.dtype === "float32") {
    return data.every(Number.isFinite) ? [] : [`input ${spec.name}: contains NaN or infinite values`];
  }
  const limit = spec.name === "inputs" ? sizesOf(contract).ids : contract.num_puzzle_identifiers;
  const size = rowSize(spec);
  const problems = [];
  data.forEach((id, i) => {
    if (id >= 0 && id < limit) return;
    const place = `row ${Math.floor(i / size)}${spec.shape.length > 1 ? `, column ${i % size}` : ""}`;
    problems.push(`input ${spec.name}, ${place}: id ${id} is not in 0..${limit - 1}`);
  });
  return problems;
}
