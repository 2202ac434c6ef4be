// The ACT loop for every engine (docs/contract.md, "The loop"): halting, latching, refills.
//
// A runner has `contract` and `call(inputs, carry)`, one call of the graph, which resolves to
// { outputs, carry }. Everything else is here. Knows no engine and no task.

import { sizesOf } from "./contract.js";
import { TrmError } from "./errors.js";
import * as tensors from "./tensors.js";
import { chosenOf, noise, planTries } from "./tries.js";

const OPTIONS = [
  "halt", "maxSteps", "deadline", "slots", "onStep", "tries", "vary", "choose", "seed", "sigma",
];
export const STOP_REASONS = ["halted", "max_steps", "deadline", "cancelled", "nonfinite"];

/** One ACT step: a call, or the passes of a block. Checks what goes in and what comes out. */
export async function step(runner, inputs, carry) {
  refuseMissing({ runner, inputs, carry });
  const { contract } = runner;
  tensors.checkStepCall(contract, inputs, carry);
  let result = { carry: { ...carry } };
  if (contract.granularity === "block") {
    const spec = contract.carry.find(({ name }) => name === "passes");
    result.carry.passes = tensors.filled(spec, inputs.inputs.shape[0]);
  }
  for (let pass = 0; pass < contract.passes; pass++) {
    result = await runner.call(inputs, result.carry);
    tensors.checkStepOutput(contract, result, inputs.inputs.shape[0]);
  }
  return result;
}

/**
 * Solve N puzzles: each has its answer from the step at which it stopped.
 *
 * `puzzles` has a tensor of N rows for every input. `halt` is "learned", "max_steps" or a threshold in
 * logits; `deadline` is in seconds and checked before every call; `slots` are the rows of a call, the
 * fixed batch or by default 64. `onStep` gets an event after every call, and cancels by returning (or
 * resolving to) false. A graph of granularity "loop" halts by itself and calls it once for each batch.
 *
 * `tries` above 1 asks a puzzle again whose answer is not sure: in another guise, with noise on the
 * states of deviation `sigma`, or both (`vary`), drawn from `seed`. `choose` is "score", "first" or "vote".
 */
export async function solve(runner, puzzles, options = {}) {
  refuseMissing({ runner, puzzles, options });
  const { contract } = runner;
  refuseUnknown(options);
  const { halt = "learned", maxSteps = contract.max_steps, slots = contract.batch ?? 64 } = options;
  const { deadline, onStep } = options;
  tensors.checkInputs(contract, puzzles);
  tensors.refusePadding(contract, puzzles.inputs);
  const limit = performance.now() + (deadline ?? Infinity) * 1000;
  checkOptions(contract, { halt, maxSteps, slots, deadline });
  const rollout = new Rollout(contract, puzzles, halt, maxSteps, slots, planTries(contract, options));
  for (;;) {
    if (!rollout.running.length) return rollout.solution("deadline");
    if (performance.now() >= limit) return rollout.solution("deadline");
    const event = rollout.latch(await step(runner, rollout.fed(), rollout.carry));
    if ((await onStep?.(event)) === false) return rollout.solution("cancelled");
    rollout.refill();
  }
}

/** Refuses arguments that are no objects, such as forgotten ones. */
function refuseMissing(given) {
  const found = Object.entries(given).find(([, value]) => typeof value !== "object" || value === null);
  if (found) throw new TrmError(`${found[0]}: expected an object, got ${found[1] === null ? null : typeof found[1]}.`, 2);
  if (!given.runner.contract) throw new TrmError("runner: expected what openOnnx and openLitert resolve to.", 2);
}

/** An option that does nothing would be taken for one that does. */
function refuseUnknown(options) {
  const unknown = Object.keys(options).filter((name) => !OPTIONS.includes(name));
  if (!unknown.length) return;
  throw new TrmError(`Unknown options: ${unknown.join(", ")}; choose from ${OPTIONS.join(", ")}.`, 2);
}

function checkOptions(contract, { halt, maxSteps, slots, deadline }) {
  const refuse = (wrong, text) => {
    if (wrong) throw new TrmError(text, 2);
  };
  const isWhole = (value) => Number.isInteger(value) && value >= 1;
  const { max_steps: own, batch } = contract;
  refuse(!isWhole(maxSteps) || maxSteps > own, `maxSteps: expected 1 to ${own}, got ${maxSteps}.`);
  refuse(!isWhole(slots), `slots: expected 1 or more, got ${slots}.`);
  refuse(
    slots !== (batch ?? slots),
    `slots: expected ${batch}, the fixed batch of this model, got ${slots}; drop it, or export the model ` +
      "with a dynamic batch.",
  );
  const seconds = deadline ?? 0;
  refuse(!(typeof seconds === "number" && seconds >= 0), `deadline: expected seconds, 0 or more, got ${deadline}.`);
  refuse(
    !["learned", "max_steps"].includes(halt) && !(typeof halt === "number" && Number.isFinite(halt)),
    `halt: expected "learned", "max_steps" or a number, got ${halt}.`,
  );
  refuse(
    contract.granularity === "loop" && (halt !== "learned" || maxSteps !== own),
    "This model contains the complete loop and halts by its own rule; drop halt and maxSteps.",
  );
}

/** The tries of the puzzles, the slots in which some of them run, and what is known of each.
 *
 * A row is a try of a puzzle: row k * N + i is try k of puzzle i, so that without more tries it is
 * the puzzle. Memory: the results of as many tries of each puzzle as were begun of any.
 */
class Rollout {
  constructor(contract, puzzles, halt, maxSteps, slots, plan) {
    const count = puzzles.inputs.shape[0];
    const rows = count * plan.count;
    Object.assign(this, { contract, puzzles, maxSteps, plan, count, rows });
    this.sure = Math.fround(typeof halt === "number" ? halt : contract.halt.threshold); // above it
    this.threshold = halt === "max_steps" ? Infinity : this.sure;
    this.cells = sizesOf(contract).cells;
    this.answers = this.steps = new Int32Array(0);
    this.qHalt = this.scores = new Float32Array(0);
    this.reasons = [];
    this.held = 0; // tries of each puzzle that these have room for
    this.#hold(1);
    this.next = 0; // the first row that waits from the beginning
    this.first = plan.choose === "vote" ? rows : count; // the end of these
    this.later = []; // rows that wait since, all higher: the next of each puzzle, the lowest last
    this.left = new Int32Array(count).fill(this.first / count); // tries to be finished
    this.done = new Uint8Array(count);
    this.most = contract.batch ?? Math.min(slots, rows);
    // Slot to { row, idle }: an idle slot is fed the row that it had last.
    this.slots = Array.from({ length: Math.min(this.most, this.first) }, () => this.#taken());
    while (contract.batch > this.slots.length) this.slots.push({ row: 0, idle: true });
    this.carry = tensors.startCarry(contract, this.slots.length);
  }

  /** The slots with a puzzle. */
  get running() {
    return this.slots.filter((slot) => !slot.idle);
  }

  fed() {
    const rows = this.slots.map(({ row }) => row % this.count);
    const inputs = tensors.named(this.contract.inputs, ({ name }) => tensors.takeRows(this.puzzles[name], rows));
    this.slots.forEach(({ row }, slot) => {
      const puzzle = tensors.row(inputs.inputs, slot);
      puzzle.set(this.#guise(row)?.ask(puzzle) ?? puzzle);
    });
    return inputs;
  }

  /** Keep what a call has found of each running row; returns the event of the call. */
  latch({ outputs, carry }) {
    this.carry = carry;
    const event = { puzzles: [], steps: [], answers: [], qHalt: [], finished: [], outputs, carry };
    if (this.plan.count > 1) event.tries = [];
    this.slots.forEach(({ row, idle }, slot) => {
      if (idle) return;
      this.#latchSlot(row, slot, outputs);
      event.puzzles.push(row % this.count);
      event.steps.push(this.steps[row]);
      event.answers.push(this.#answer(row).slice());
      event.qHalt.push(this.qHalt[row]);
      event.tries?.push(Math.floor(row / this.count));
    });
    const last = this.#finish();
    event.finished = this.running.map(({ row }) => last.get(row % this.count) === row);
    return event;
  }

  #latchSlot(row, slot, outputs) {
    const { contract, maxSteps } = this;
    const isLoop = contract.granularity === "loop";
    this.steps[row] = isLoop ? outputs.steps.data[slot] : this.steps[row] + 1;
    if (!tensors.isFinite32(contract, outputs, this.carry, slot)) {
      this.reasons[row] = "nonfinite";
      return;
    }
    const answer = isLoop
      ? tensors.row(outputs.answers, slot)
      : tensors.largest(tensors.row(outputs.logits, slot), this.cells);
    this.#answer(row).set(this.#guise(row)?.undo(answer) ?? answer);
    const [qHalt, qContinue] = ["q_halt_logits", "q_continue_logits"].map((name) =>
      tensors.real(contract.outputs.find((spec) => spec.name === name), outputs[name].data[slot]),
    );
    this.qHalt[row] = qHalt;
    this.scores[row] = contract.halt.kind === "q_halt" ? qHalt : qHalt - qContinue;
    if (this.scores[row] > this.threshold) this.reasons[row] = "halted";
    else if (isLoop || this.steps[row] >= maxSteps) this.reasons[row] = "max_steps";
  }

  /** End puzzles with a sure try, ask others again; puzzles that are done now, with their last row. */
  #finish() {
    const { count, plan, left } = this;
    const last = new Map();
    for (const { row } of this.running.filter(({ row: own }) => this.reasons[own] !== null)) {
      const puzzle = row % count;
      left[puzzle]--;
      if (plan.choose !== "vote") {
        if (this.#isSure(row)) left[puzzle] = 0;
        else if (row === puzzle) this.#askAgain(puzzle);
      }
      if (left[puzzle] <= 0) last.set(puzzle, row);
    }
    for (const puzzle of last.keys()) {
      this.done[puzzle] = 1;
      for (let row = puzzle; row < this.reasons.length; row += count) this.reasons[row] ??= "cancelled";
    }
    return last;
  }

  #isSure(row) {
    return this.reasons[row] !== "nonfinite" && this.scores[row] > this.sure;
  }

  #askAgain(puzzle) {
    this.left[puzzle] = this.plan.count - 1;
    this.#wait(puzzle + this.count);
  }

  #wait(row) {
    let [low, high] = [0, this.later.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.later[middle] > row) low = middle + 1;
      else high = middle;
    }
    this.later.splice(low, 0, row);
  }

  /** A slot with the next row that waits; undefined without one. */
  #taken() {
    const row = this.#nextRow();
    if (row === undefined) return undefined;
    this.#hold(Math.floor(row / this.count) + 1);
    return { row, idle: false, fresh: true };
  }

  #nextRow() {
    if (this.next < this.first) return this.next++;
    while (this.later.length) {
      const row = this.later.pop();
      if (this.done[row % this.count]) continue;
      if (row + this.count < this.rows) this.#wait(row + this.count);
      return row;
    }
    return undefined;
  }

  /** Makes room for the results of so many tries; more than there are at least double it. */
  #hold(tries) {
    if (tries <= this.held) return;
    this.held = Math.min(Math.max(tries, 2 * this.held), this.plan.count);
    const rows = this.held * this.count;
    const longer = (array, size, value) => {
      const found = new array.constructor(size).fill(value, array.length);
      found.set(array);
      return found;
    };
    this.answers = longer(this.answers, rows * this.cells, 0);
    this.steps = longer(this.steps, rows, 0);
    this.qHalt = longer(this.qHalt, rows, NaN);
    this.scores = longer(this.scores, rows, NaN);
    while (this.reasons.length < rows) this.reasons.push(null);
  }

  /** Give free slots to waiting rows; others idle or, with a dynamic batch, are dropped. */
  refill() {
    const { contract, carry } = this;
    this.slots = this.slots.map((slot, index) => {
      const reason = slot.idle ? "idle" : this.reasons[slot.row];
      if (reason === null) return { ...slot, fresh: false };
      if (reason === "nonfinite") {
        contract.carry.forEach(({ name, fill }) => tensors.row(carry[name], index).fill(Number(fill)));
      }
      return this.#taken() ?? { ...slot, idle: true };
    });
    this.slots.forEach((slot, index) => {
      if (carry.halted) carry.halted.data[index] = Number(slot.idle || slot.fresh);
      if (!slot.idle && !slot.fresh) this.#disturb(slot.row, index);
    });
    if (contract.batch !== null) return;
    const kept = this.slots.flatMap((slot, index) => (slot.idle ? [] : [index]));
    if (kept.length < this.slots.length) {
      this.slots = kept.map((index) => this.slots[index]);
      this.carry = tensors.named(contract.carry, ({ name }) => tensors.takeRows(carry[name], kept));
    }
    this.#grow();
  }

  /** Noise on the states of a row that goes on. */
  #disturb(row, slot) {
    const { plan, count } = this;
    const k = Math.floor(row / count);
    if (!plan.sigma || !k) return;
    const states = plan.states.map(({ name }) => tensors.row(this.carry[name], slot));
    const size = states.reduce((sum, state) => sum + state.length, 0);
    const values = noise(plan.seed, k, this.steps[row], size, plan.sigma).values();
    for (const state of states) state.forEach((value, i) => (state[i] = value + values.next().value));
  }

  /** New slots for rows that still wait, where more are waiting than slots became free. */
  #grow() {
    const before = this.slots.length;
    for (let slot; this.slots.length < this.most && (slot = this.#taken()); ) this.slots.push(slot);
    const more = this.slots.length - before;
    const grow = (spec) => tensors.grown(spec, this.carry[spec.name], more);
    if (more) this.carry = tensors.named(this.contract.carry, grow);
  }

  /** The results; puzzles that are not done get this reason. */
  solution(reason) {
    const { cells, count, plan } = this;
    const chosen = Int32Array.from({ length: count }, (_, puzzle) => this.#chosen(puzzle));
    const rows = [...chosen].map((k, puzzle) => k * count + puzzle);
    const answers = { dtype: "int32", shape: [this.steps.length, cells], data: this.answers };
    const found = {
      answers: tensors.takeRows(answers, rows),
      steps: Int32Array.from(rows, (row) => this.steps[row]),
      qHalt: Float32Array.from(rows, (row) => this.qHalt[row]),
      reasons: rows.map((row, puzzle) => (this.done[puzzle] ? this.reasons[row] : reason)),
    };
    if (plan.count === 1) return found;
    const [tries, totalSteps] = [new Int32Array(count), new Int32Array(count)];
    this.steps.forEach((steps, row) => {
      tries[row % count] += Number(steps > 0);
      totalSteps[row % count] += steps;
    });
    return { ...found, tries, totalSteps, chosen };
  }

  #chosen(puzzle) {
    const tries = Array.from({ length: this.held }, (_, k) => {
      const row = k * this.count + puzzle;
      const [qHalt, score] = [this.qHalt[row], this.scores[row]];
      const usable = this.reasons[row] !== "nonfinite" && Number.isFinite(qHalt);
      return { usable, sure: this.#isSure(row), score, qHalt, answer: this.#answer(row) };
    });
    return chosenOf(this.plan.choose, tries);
  }

  #guise(row) {
    const { guises } = this.plan;
    return guises?.[Math.floor(row / this.count) % guises.length];
  }

  #answer(row) {
    return this.answers.subarray(row * this.cells, (row + 1) * this.cells);
  }
}
