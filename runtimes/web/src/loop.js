// The ACT loop for every engine (docs/contract.md, "The loop"): halting, latching, refills.
//
// A runner has `contract` and `call(inputs, carry)`, one call of the graph, which resolves to
// { outputs, carry }. Everything else is here. Knows no engine and no task.

import { sizesOf } from "./contract.js";
import { TrmError } from "./errors.js";
import * as tensors from "./tensors.js";

export const STOP_REASONS = ["halted", "max_steps", "deadline", "cancelled", "nonfinite"];

/** One ACT step: a call, or the passes of a block. Checks what goes in and what comes out. */
export async function step(runner, inputs, carry) {
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
 * logits; `deadline` is in seconds and checked before every call; `slots` are the rows of a call, for
 * a dynamic batch. `onStep` gets an event after every call, and cancels by returning (or resolving
 * to) false. A graph of granularity "loop" halts by itself and calls it once for each batch.
 */
export async function solve(runner, puzzles, options = {}) {
  const { contract } = runner;
  const { halt = "learned", maxSteps = contract.max_steps, deadline, slots = 64, onStep } = options;
  tensors.checkInputs(contract, puzzles);
  tensors.refusePadding(contract, puzzles.inputs);
  const limit = performance.now() + (deadline ?? Infinity) * 1000;
  const rollout = new Rollout(contract, puzzles, threshold(contract, halt), maxSteps, slots);
  checkOptions(contract, { halt, maxSteps, slots, limit });
  for (;;) {
    if (!rollout.running.length) return rollout.solution("deadline");
    if (performance.now() >= limit) return rollout.solution("deadline");
    const event = rollout.latch(await step(runner, rollout.fed(), rollout.carry));
    if ((await onStep?.(event)) === false) return rollout.solution("cancelled");
    rollout.refill();
  }
}

function threshold(contract, halt) {
  if (halt === "max_steps") return Infinity;
  return Math.fround(halt === "learned" ? contract.halt.threshold : halt);
}

function checkOptions(contract, { halt, maxSteps, slots, limit }) {
  const refuse = (wrong, text) => {
    if (wrong) throw new TrmError(text, 2);
  };
  const isWhole = (value) => Number.isInteger(value) && value >= 1;
  const own = contract.max_steps;
  refuse(!isWhole(maxSteps) || maxSteps > own, `maxSteps: expected 1 to ${own}, got ${maxSteps}.`);
  refuse(!isWhole(slots), `slots: expected 1 or more, got ${slots}.`);
  refuse(Number.isNaN(limit), "deadline: expected seconds, 0 or more.");
  refuse(
    !["learned", "max_steps"].includes(halt) && !(typeof halt === "number" && Number.isFinite(halt)),
    `halt: expected "learned", "max_steps" or a number, got ${halt}.`,
  );
  refuse(
    contract.granularity === "loop" && (halt !== "learned" || maxSteps !== own),
    "This model contains the complete loop and halts by its own rule; drop halt and maxSteps.",
  );
}

/** The puzzles, the slots in which some of them run, and what is known of each. */
class Rollout {
  constructor(contract, puzzles, threshold, maxSteps, slots) {
    const count = puzzles.inputs.shape[0];
    Object.assign(this, { contract, puzzles, threshold, maxSteps });
    this.cells = sizesOf(contract).cells;
    this.answers = new Int32Array(count * this.cells);
    this.steps = new Int32Array(count);
    this.qHalt = new Float32Array(count).fill(NaN);
    this.reasons = new Array(count).fill(null);
    const width = contract.batch ?? Math.min(slots, count);
    this.next = Math.min(width, count); // the first puzzle that waits
    // Slot to { puzzle, idle }: an idle slot is fed the puzzle that it had last.
    this.slots = Array.from({ length: width }, (_, slot) =>
      slot < count ? { puzzle: slot, idle: false } : { puzzle: 0, idle: true },
    );
    this.carry = tensors.startCarry(contract, width);
  }

  /** The slots with a puzzle. */
  get running() {
    return this.slots.filter((slot) => !slot.idle);
  }

  fed() {
    const rows = this.slots.map((slot) => slot.puzzle);
    return tensors.named(this.contract.inputs, ({ name }) => tensors.takeRows(this.puzzles[name], rows));
  }

  /** Keep what a call has found of each running puzzle; returns the event of the call. */
  latch({ outputs, carry }) {
    this.carry = carry;
    const event = { puzzles: [], steps: [], answers: [], qHalt: [], finished: [], outputs, carry };
    this.slots.forEach(({ puzzle, idle }, slot) => {
      if (idle) return;
      this.#latchSlot(puzzle, slot, outputs);
      event.puzzles.push(puzzle);
      event.steps.push(this.steps[puzzle]);
      event.answers.push(this.#answer(puzzle).slice());
      event.qHalt.push(this.qHalt[puzzle]);
      event.finished.push(this.reasons[puzzle] !== null);
    });
    return event;
  }

  #latchSlot(puzzle, slot, outputs) {
    const { contract, maxSteps } = this;
    const isLoop = contract.granularity === "loop";
    this.steps[puzzle] = isLoop ? outputs.steps.data[slot] : this.steps[puzzle] + 1;
    if (!tensors.isFinite32(contract, outputs, this.carry, slot)) {
      this.reasons[puzzle] = "nonfinite";
      return;
    }
    const answer = isLoop
      ? tensors.row(outputs.answers, slot)
      : tensors.largest(tensors.row(outputs.logits, slot), this.cells);
    this.#answer(puzzle).set(answer);
    const [qHalt, qContinue] = ["q_halt_logits", "q_continue_logits"].map((name) =>
      tensors.real(contract.outputs.find((spec) => spec.name === name), outputs[name].data[slot]),
    );
    this.qHalt[puzzle] = qHalt;
    const score = contract.halt.kind === "q_halt" ? qHalt : Math.fround(qHalt - qContinue);
    if (score > this.threshold) this.reasons[puzzle] = "halted";
    else if (isLoop || this.steps[puzzle] >= maxSteps) this.reasons[puzzle] = "max_steps";
  }

  /** Give free slots to waiting puzzles; others idle or, with a dynamic batch, are dropped. */
  refill() {
    const { contract, carry } = this;
    this.slots = this.slots.map((slot, index) => {
      if (slot.idle || this.reasons[slot.puzzle] === null) return slot;
      if (this.reasons[slot.puzzle] === "nonfinite") {
        contract.carry.forEach(({ name, fill }) => tensors.row(carry[name], index).fill(Number(fill)));
      }
      const waiting = this.next < this.reasons.length;
      return waiting ? { puzzle: this.next++, idle: false, fresh: true } : { ...slot, idle: true };
    });
    this.slots.forEach((slot, index) => {
      if (carry.halted) carry.halted.data[index] = Number(slot.idle || slot.fresh === true);
      slot.fresh = false;
    });
    if (contract.batch !== null || this.running.length === this.slots.length) return;
    const kept = this.slots.flatMap((slot, index) => (slot.idle ? [] : [index]));
    this.slots = kept.map((index) => this.slots[index]);
    this.carry = tensors.named(contract.carry, ({ name }) => tensors.takeRows(carry[name], kept));
  }

  /** The results; puzzles that have not stopped get this reason. */
  solution(reason) {
    const { answers, cells, steps, qHalt } = this;
    const reasons = this.reasons.map((own) => own ?? reason);
    const shape = [steps.length, cells];
    return { answers: { dtype: "int32", shape, data: answers }, steps, qHalt, reasons };
  }

  #answer(puzzle) {
    return this.answers.subarray(puzzle * this.cells, (puzzle + 1) * this.cells);
  }
}
