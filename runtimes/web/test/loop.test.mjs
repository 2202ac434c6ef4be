import assert from "node:assert/strict";
import test from "node:test";

import { solve, step, TrmError } from "../src/index.js";
import { boards, fakeRunner, makeContract } from "./fakes.mjs";

const PUZZLES = boards([2, 1, 1, 1], [1, 2, 1, 1], [4, 3, 1, 1], [1, 4, 1, 1], [3, 5, 1, 1]);
const firstCells = ({ answers }) => Array.from({ length: answers.shape[0] }, (_, i) => answers.data[4 * i]);

for (const [name, options] of Object.entries({
  "a dynamic batch": {},
  "a fixed batch": { batch: 2 },
  "halted as int32": { halted: "int32" },
})) {
  test(`every puzzle has the answer of the step at which it stopped: ${name}`, async () => {
    const runner = fakeRunner(makeContract(options));
    const found = await solve(runner, PUZZLES, { slots: 2 });
    assert.deepEqual([...found.steps], [2, 1, 4, 1, 3]);
    assert.deepEqual(firstCells(found), [4, 2, 0, 2, 6]);
    assert.deepEqual(found.reasons, Array(5).fill("halted"));
  });
}

test("free slots take the next puzzle, the lowest slot first; others are dropped or idle", async () => {
  const dynamic = fakeRunner(makeContract());
  await solve(dynamic, PUZZLES, { slots: 2 });
  assert.deepEqual(dynamic.calls, [[1, 2], [1, 3], [4, 3], [5, 3], [5, 3], [5]]);
  const fixed = fakeRunner(makeContract({ batch: 2 }));
  await solve(fixed, PUZZLES);
  assert.deepEqual(fixed.calls.at(-1), [5, 3]);
  assert.equal(fixed.calls.length, 6);
});

test("a NaN stops its puzzle with the last finite answer and does not reach the next one", async () => {
  const found = await solve(fakeRunner(makeContract()), boards([7, 1, 1, 1], [2, 2, 1, 1]), { slots: 1 });
  assert.deepEqual(found.reasons, ["nonfinite", "halted"]);
  assert.deepEqual([...found.steps], [2, 2]);
  assert.deepEqual(firstCells(found), [0, 4]);
});

test("a threshold, all steps, fewer steps, a deadline and a cancellation", async () => {
  const reasons = async (options) => {
    const { reasons: found, steps } = await solve(fakeRunner(makeContract()), PUZZLES, options);
    return [found[2], steps[2]];
  };
  assert.deepEqual(await reasons({ halt: 2 }), ["max_steps", 6]);
  assert.deepEqual(await reasons({ halt: "max_steps" }), ["max_steps", 6]);
  assert.deepEqual(await reasons({ maxSteps: 3 }), ["max_steps", 3]);
  assert.deepEqual(await reasons({ deadline: 0 }), ["deadline", 0]);
  assert.deepEqual(await reasons({ onStep: () => false }), ["cancelled", 1]);
});

test("an event has the present answers of the puzzles of a call", async () => {
  const events = [];
  await solve(fakeRunner(makeContract()), PUZZLES, { slots: 2, onStep: (event) => void events.push(event) });
  assert.deepEqual(events[1].puzzles, [0, 2]);
  assert.deepEqual(events[1].steps, [2, 1]);
  assert.deepEqual(events[1].finished, [true, false]);
  assert.deepEqual(events[1].answers.map((answer) => answer[0]), [4, 5]);
});

test("padding behind the last cell is allowed", async () => {
  const { reasons } = await solve(fakeRunner(makeContract()), boards([1, 1, 0, 0]), { deadline: null });
  assert.deepEqual(reasons, ["halted"]);
});

for (const name of ["__proto__", "constructor", "toString"]) {
  test(`a state may have the name ${name}`, async () => {
    const contract = makeContract();
    Object.assign(contract.carry[3], { name, next: `${name}_next` });
    const inner = fakeRunner(makeContract());
    const call = async (inputs, { [name]: z, ...carry }) => {
      const { outputs, carry: { z: next, ...others } } = await inner.call(inputs, { ...carry, z });
      return { outputs, carry: Object.fromEntries([...Object.entries(others), [name, next]]) };
    };
    const found = await solve({ ...inner, contract, call }, PUZZLES, { slots: 2 });
    assert.deepEqual([...found.steps], [2, 1, 4, 1, 3]);
    const lacking = { steps: PUZZLES.inputs };
    await assert.rejects(step({ ...inner, contract, call }, PUZZLES, lacking), { message: new RegExp(`${name}: missing`) });
  });
}

test("the slots of a fixed batch are that batch", async () => {
  const runner = fakeRunner(makeContract({ batch: 2 }));
  const refused = { name: "TrmError", exitCode: 2, message: /^slots: expected 2, the fixed batch / };
  for (const slots of [1, 3]) await assert.rejects(solve(runner, PUZZLES, { slots }), refused);
  assert.equal(runner.calls.length, 0);
});

for (const [name, puzzles, options, code] of [
  ["an id out of range", boards([1, 1, 1, 8]), {}, 4],
  ["padding", boards([1, 0, 1, 1]), {}, 4],
  ["nothing but padding", boards([1, 1, 1, 1], [0, 0, 0, 0]), {}, 4],
  ["a deadline below 0", PUZZLES, { deadline: -1 }, 2],
  ["a deadline in a text", PUZZLES, { deadline: "5" }, 2],
  ["a deadline that is true", PUZZLES, { deadline: true }, 2],
  ["a deadline that is no number", PUZZLES, { deadline: NaN }, 2],
  ["another shape", { inputs: { ...PUZZLES.inputs, shape: [4, 5] } }, {}, 4],
  ["another dtype", { inputs: { dtype: "float32", shape: [1, 4], data: new Float32Array(4) } }, {}, 4],
  ["an input that is unknown", { ...PUZZLES, other: PUZZLES.inputs }, {}, 4],
  ["no input", {}, {}, 4],
  ["no rows", boards(), {}, 4],
  ["more steps than the model has", PUZZLES, { maxSteps: 7 }, 2],
  ["half a step", PUZZLES, { maxSteps: 1.5 }, 2],
  ["no slots", PUZZLES, { slots: 0 }, 2],
  ["a rule that is unknown", PUZZLES, { halt: "never" }, 2],
  ["an option that is unknown", PUZZLES, { abstain: 0.5 }, 2],
]) {
  test(`refused before a call: ${name}`, async () => {
    const runner = fakeRunner(makeContract());
    await assert.rejects(solve(runner, puzzles, options), (error) => error instanceof TrmError && error.exitCode === code);
    assert.equal(runner.calls.length, 0);
  });
}

test("an argument that is no object is refused by its name", async () => {
  const runner = fakeRunner(makeContract());
  for (const [call, name] of [
    [() => solve(), "runner"],
    [() => solve({}, PUZZLES), "runner"],
    [() => solve(runner), "puzzles"],
    [() => solve(runner, null), "puzzles"],
    [() => solve(runner, PUZZLES, null), "options"],
    [() => step(null, PUZZLES, {}), "runner"],
    [() => step(runner, undefined, {}), "inputs"],
    [() => step(runner, PUZZLES), "carry"],
  ]) {
    await assert.rejects(call, { name: "TrmError", exitCode: 2, message: new RegExp(`^${name}: expected (an object|what openOnnx)`) });
  }
});

for (const [name, change, words] of [
  ["another array", { data: Int16Array.of(2, 1, 1, 1) }, /expected data of type Int32Array, got Int16Array\./],
  ["a list", { data: [2, 1, 1, 1] }, /expected data of type Int32Array, got Array\./],
  ["no data", { data: undefined }, /expected data of type Int32Array, got undefined\./],
  ["another dtype", { dtype: "float32" }, /expected dtype int32, got float32\./],
  ["another shape", { shape: [1, 5] }, /expected shape \(1,4\), got \(1,5\)\./],
  ["too few elements", { shape: [2, 4] }, /expected 8 elements, got 4\./],
]) {
  test(`a tensor that does not fit is refused with what differs: ${name}`, async () => {
    const inputs = { ...boards([2, 1, 1, 1]).inputs, ...change };
    await assert.rejects(solve(fakeRunner(makeContract()), { inputs }), words);
  });
}
