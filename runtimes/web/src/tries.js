// How puzzles are asked again, and which answer is chosen (docs/contract.md, "Trying again").
// Knows the contract; knows no engine and no task.

import { ownStates, sizesOf } from "./contract.js";
import { TrmError } from "./errors.js";

const VARY = ["symmetry", "noise", "both"];
export const CHOOSE = ["score", "first", "vote"];
export const MOST = 1 << 16;
const INCREMENT = 0x9e3779b9;
const [WALK, REDRAWS] = [256, 64];
const [GUISES, NOISE] = [0, 1]; // the last name of a stream

/** Word n of the stream that starts at `start`: 32 bits. */
export function word(start, n) {
  let x = (start + Math.imul(n + 1, INCREMENT)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The start of the stream with these names. */
export function stream(...names) {
  return names.reduce((start, name) => word(start ^ name, 0), 0);
}

/** What is added to `size` elements of the states after step t (from 1) of try k, in float32. */
export function noise(seed, k, t, size, sigma) {
  const start = stream(seed, k, NOISE);
  const scale = Math.fround(sigma / Math.sqrt(21845));
  return Float32Array.from({ length: size }, (_, element) => {
    const x = word(start, (t - 1) * size + element);
    return ((x & 255) + ((x >>> 8) & 255) + ((x >>> 16) & 255) + (x >>> 24) - 510) * scale;
  });
}

/** A puzzle under a symmetry of its task, and the way back for its answer. */
class Guise {
  constructor(cells, tokens) {
    Object.assign(this, { cells, tokens, own: [] });
    tokens.forEach((token, id) => (this.own[token] = id));
  }

  get key() {
    return `${this.cells};${this.tokens}`;
  }

  ask(puzzle) {
    return this.cells.map((cell) => this.tokens[puzzle[cell]]);
  }

  undo(answer) {
    const found = new Int32Array(answer.length);
    this.cells.forEach((cell, i) => (found[cell] = this.own[answer[i]]));
    return found;
  }
}

/** At most so many different guises, the puzzle itself first; fewer if there are no more. */
export function drawGuises(contract, tries, seed) {
  const { cells, ids } = sizesOf(contract);
  const found = [new Guise([...Array(cells).keys()], [...Array(ids).keys()])];
  const known = new Set([found[0].key]);
  for (let k = 1; k < tries; k++) {
    let guise;
    for (let redraw = 0; redraw < REDRAWS && (!guise || known.has(guise.key)); redraw++) {
      guise = draw(contract, stream(seed, k, GUISES), redraw);
    }
    if (known.has(guise.key)) break;
    known.add(guise.key);
    found.push(guise);
  }
  return found;
}

function draw(contract, start, redraw) {
  const { positions, tokens: classes } = contract.symmetries;
  const { cells: size, ids: count } = sizesOf(contract);
  let n = redraw * classes.reduce((sum, ids) => sum + ids.length - 1, WALK);
  const next = (choices) => word(start, n++) % choices;
  let [cells, tokens] = [[...Array(size).keys()], [...Array(count).keys()]];
  for (let i = 0; i < WALK; i++) {
    const order = positions[next(positions.length + 1)];
    if (order) cells = order.map((cell) => cells[cell]);
  }
  for (const ids of classes) {
    const shuffled = [...ids];
    for (let j = ids.length - 1; j > 0; j--) {
      const other = next(j + 1);
      [shuffled[j], shuffled[other]] = [shuffled[other], shuffled[j]];
    }
    ids.forEach((id, j) => (tokens[id] = shuffled[j]));
  }
  return new Guise(cells, tokens);
}

/** The tries for a model; refuses wrong options, and what the model cannot do. */
export function planTries(contract, options) {
  const { tries = 1, vary = VARY[0], choose = CHOOSE[0], seed = 0, sigma = 0.2 } = options;
  const refuse = (wrong, text) => {
    if (wrong) throw new TrmError(text, 2);
  };
  const isWhole = (value, least, most) => Number.isInteger(value) && value >= least && value <= most;
  refuse(!isWhole(tries, 1, MOST), `tries: expected 1 to ${MOST}, got ${tries}.`);
  refuse(!VARY.includes(vary), `vary: expected one of ${VARY.join(", ")}, got ${vary}.`);
  refuse(!CHOOSE.includes(choose), `choose: expected one of ${CHOOSE.join(", ")}, got ${choose}.`);
  refuse(!isWhole(seed, 0, 2 ** 32 - 1), `seed: expected an integer of 0 to 4294967295, got ${seed}.`);
  const isSigma = typeof sigma === "number" && sigma > 0 && sigma < 1000;
  refuse(!isSigma, `sigma: expected a number above 0 and below 1000, got ${sigma}.`);
  if (tries === 1) return { count: 1, choose, seed, sigma: 0, guises: null };
  const states = ownStates(contract);
  if (vary !== "noise") {
    refuse(
      !contract.symmetries,
      'The contract of this model lists no symmetries; use vary: "noise", or export the model again.',
    );
    refuse(
      contract.num_puzzle_identifiers > 1,
      'A puzzle identifier is the rule of a puzzle, and a guise follows another one; use vary: "noise".',
    );
  }
  refuse(
    vary !== "symmetry" && !states.length,
    'This model has no float32 states between its steps for noise; use vary: "symmetry".',
  );
  const guises = vary === "noise" ? null : drawGuises(contract, tries, seed);
  const count = vary === "symmetry" ? guises.length : tries;
  return { count, choose, seed, sigma: vary === "symmetry" ? 0 : sigma, guises, states };
}

/** The index of the chosen of { usable, sure, score, qHalt, answer }; of equal ones the lowest. */
export function chosenOf(choose, tries) {
  if (choose === "first") {
    const sure = tries.findIndex((one) => one.sure);
    return Math.max(sure < 0 ? tries.findIndex((one) => one.usable) : sure, 0);
  }
  const values = choose === "vote" ? votes(tries) : tries.map(({ usable, score }) => [usable ? score : -Infinity]);
  let best = 0;
  values.forEach((value, k) => {
    const unequal = value.findIndex((part, i) => part !== values[best][i]);
    if (unequal >= 0 && value[unequal] > values[best][unequal]) best = k;
  });
  return best;
}

/** [votes, mean sureness] of the answer of each try. */
function votes(tries) {
  const groups = new Map();
  const keys = tries.map(({ usable, answer, qHalt }) => {
    const key = usable ? String(answer) : null;
    const [count, sum] = groups.get(key) ?? [0, 0];
    groups.set(key, [count + 1, sum + 1 / (1 + Math.exp(-Math.max(-60, Math.min(60, qHalt))))]);
    return key;
  });
  return keys.map((key) => {
    const [count, sum] = groups.get(key);
    return key === null ? [0, 0] : [count, sum / count];
  });
}
