// Asking again (docs/contract.md, "Trying again"). That whole loops are those of Python is judged by
// `check` over serve.mjs. TRM_MODELS is a folder with sudoku4.onnx.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

import { contractText, parseContract, solve, TrmError } from "../src/index.js";
import { chosenOf, drawGuises, noise, stream, word } from "../src/tries.js";
import { boards, fakeRunner, makeContract } from "./fakes.mjs";

const MODELS = process.env.TRM_MODELS;
const SYMMETRIES = { positions: [[0, 2, 3, 1], [0, 2, 1, 3]], tokens: [] }; // the last three cells

test("words and streams are those of the vectors", () => {
  assert.deepEqual([0, 1, 2, 3].map((n) => word(0, n)), [33350994, 83415710, 260840893, 1806016855]);
  assert.deepEqual([stream(0, 1, 0), stream(7, 3, 1)], [1391022734, 40340840]);
  const scale = Math.fround(0.2 / Math.sqrt(21845));
  const wanted = [28, -30, -10, -19].map((d) => Math.fround(d * scale));
  assert.deepEqual([...noise(0, 1, 1, 4, 0.2)], wanted);
  assert.deepEqual([...noise(0, 1, 2, 2, 0.2)], wanted.slice(2));
});

test("a guise is that of the vectors", { skip: MODELS ? false : "TRM_MODELS is not set" }, () => {
  const contract = parseContract(contractText(readFileSync(join(MODELS, "sudoku4.onnx"))));
  const [own, guise] = drawGuises(contract, 2, 0);
  assert.deepEqual(own.cells, [...Array(16).keys()]);
  assert.deepEqual(guise.cells, [14, 10, 2, 6, 15, 11, 3, 7, 12, 8, 0, 4, 13, 9, 1, 5]);
  assert.deepEqual(guise.tokens, [0, 1, 5, 2, 4, 3]);
  const puzzle = Int32Array.from({ length: 16 }, (_, cell) => cell % 6);
  assert.deepEqual(guise.undo(guise.ask([...puzzle])), puzzle);
});

test("all guises of a small group are found, and no more", () => {
  const guises = drawGuises(makeContract({ symmetries: SYMMETRIES }), 99, 3);
  assert.equal(new Set(guises.map(({ key }) => key)).size, 6);
  assert.equal(guises.length, 6);
});

test("an unsure puzzle is asked again in slots that are free, and its answer is undone", async () => {
  const contract = makeContract({ symmetries: SYMMETRIES });
  const runner = fakeRunner(contract);
  const asked = [];
  const onStep = ({ puzzles, tries, finished }) => void asked.push([puzzles, tries, finished]);
  const options = { tries: 4, maxSteps: 2, slots: 3, onStep };
  const found = await solve(runner, boards([5, 1, 2, 3], [1, 4, 4, 4]), options);
  assert.deepEqual(asked[0], [[0, 1], [0, 0], [false, true]]);
  assert.deepEqual(asked.slice(1, 3), [[[0], [0], [false]], [[0, 0, 0], [1, 2, 3], [false, false, false]]]);
  assert.deepEqual(asked[3], [[0, 0, 0], [1, 2, 3], [false, false, true]]);
  assert.deepEqual([...found.tries], [4, 1]);
  assert.deepEqual([...found.totalSteps], [8, 1]);
  assert.deepEqual([...found.steps], [2, 1]);
  assert.deepEqual([...found.answers.data], [7, 3, 4, 5, 2, 5, 5, 5]);
  assert.deepEqual(found.reasons, ["max_steps", "halted"]);
});

for (const batch of [null, 3]) {
  test(`a sure try ends the others, a vote needs them all: batch ${batch}`, async () => {
    // The guise decides at which step the puzzle halts.
    const contract = makeContract({ batch, symmetries: { positions: [[1, 2, 3, 0]], tokens: [] } });
    const puzzles = boards([4, 5, 5, 1]);
    const sure = await solve(fakeRunner(contract), puzzles, { tries: 4, maxSteps: 3, slots: 3 });
    assert.deepEqual([sure.reasons[0], sure.steps[0], sure.tries[0], sure.totalSteps[0]], ["halted", 1, 4, 6]);
    const vote = await solve(fakeRunner(contract), puzzles, { tries: 4, maxSteps: 3, slots: 3, choose: "vote" });
    assert.deepEqual([vote.reasons[0], vote.steps[0], vote.tries[0], vote.totalSteps[0]], ["max_steps", 3, 4, 10]);
  });
}

test("noise is on the states of the tries after the first, in the steps after the first", async () => {
  const runner = fakeRunner(makeContract());
  const seen = [];
  const { call } = runner;
  runner.call = (inputs, carry) => (seen.push([...carry.z.data]), call(inputs, carry));
  await solve(runner, boards([5, 1, 1, 1]), { tries: 2, maxSteps: 3, vary: "noise", seed: 9 });
  const noisy = (step) => [...noise(9, 1, step, 2, 0.2)].map((value) => Math.fround(step + value));
  assert.deepEqual(seen, [[0, 0], [1, 1], [2, 2], [3, 3], noisy(1), noisy(2)]); // 3: stale, and dropped
});

for (const choose of ["score", "vote"]) {
  for (const calls of [0, 40]) {
    test(`memory is of the tries that were begun: ${choose}, ${calls} calls`, async () => {
      const puzzles = boards(...Array(2000).fill([5, 1, 1, 1]));
      const before = process.resourceUsage().maxRSS;
      let left = calls;
      const found = await solve(fakeRunner(makeContract()), puzzles, {
        tries: 2 ** 16, vary: "noise", choose, maxSteps: 1, slots: 2000,
        deadline: calls ? Infinity : 0, onStep: () => left-- > 0,
      });
      assert.deepEqual(new Set(found.tries), new Set([calls ? calls + 1 : 0]));
      assert.deepEqual(new Set(found.reasons), new Set([calls ? "cancelled" : "deadline"]));
      assert.ok(process.resourceUsage().maxRSS - before < 200_000); // kB
    });
  }
}

test("without tries there is nothing about them", async () => {
  const found = await solve(fakeRunner(makeContract()), boards([5, 1, 1, 1]), { tries: 1 });
  assert.deepEqual(Object.keys(found), ["answers", "steps", "qHalt", "reasons"]);
});

test("the choice: by score, the first sure one, the most votes", () => {
  const make = (answer, score, more) => ({ usable: true, sure: false, score, qHalt: score, answer, ...more });
  const tries = [make([1], 1), make([2], 2, { sure: true }), make([1], 3), make([3], 9, { usable: false })];
  assert.deepEqual(["score", "first", "vote"].map((choose) => chosenOf(choose, tries)), [2, 1, 0]);
  const bad = [make([1], 1, { usable: false }), make([2], -3), make([3], 0)];
  assert.deepEqual(["score", "first", "vote"].map((choose) => chosenOf(choose, bad)), [2, 1, 2]);
  assert.equal(chosenOf("first", [bad[0]]), 0);
});

for (const [name, fields, options] of [
  ["no symmetries", {}, {}],
  ["the identifier is the rule", { symmetries: SYMMETRIES, num_puzzle_identifiers: 5 }, {}],
  ["no states", { granularity: "loop", carry: [] }, { vary: "noise" }],
  ["another way", {}, { vary: "all" }],
  ["another choice", {}, { vary: "noise", choose: "best" }],
  ["a seed of 33 bits", {}, { vary: "noise", seed: 2 ** 32 }],
  ["no noise", {}, { vary: "noise", sigma: 0 }],
  ["noise of true", {}, { vary: "noise", sigma: true }],
  ["no tries", {}, { tries: 0 }],
]) {
  test(`tries that are refused: ${name}`, async () => {
    const runner = fakeRunner({ ...makeContract(), ...fields });
    const refused = (error) => error instanceof TrmError && error.exitCode === 2;
    await assert.rejects(solve(runner, boards([5, 1, 1, 1]), { tries: 2, ...options }), refused);
    assert.equal(runner.calls.length, 0);
  });
}
