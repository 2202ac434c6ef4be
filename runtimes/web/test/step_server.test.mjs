import assert from "node:assert/strict";
import test from "node:test";

import { hello, messages, packed, replyTo } from "../src/step_server.js";
import { boards, fakeRunner, makeContract } from "./fakes.mjs";

const contract = makeContract();
const decoded = async (bytes) => (await messages(pieces(bytes, 1 << 20)).next()).value;
const stepOf = (rows) => [boards(...rows).inputs.data, new Int32Array(rows.length), new Uint8Array(rows.length).fill(1), new Int32Array(4 * rows.length), new Float32Array(2 * rows.length)];

async function* pieces(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test("the first message has the contract", async () => {
  const { head, data } = await decoded(hello(fakeRunner(contract), "a driver"));
  assert.deepEqual([head.protocol, head.version, head.driver, head.engine], ["trm-step-server", 1, "a driver", "fake 1"]);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(data)), contract);
});

test("messages are found in pieces of any size", async () => {
  const bytes = Buffer.concat([packed({ request: "a" }, [Int32Array.of(10, 2570)]), packed({ request: "b" })]);
  for (const size of [1, 2, 7, 1000]) {
    const found = [];
    for await (const { head, data } of messages(pieces(bytes, size))) found.push([head.request, data.length]);
    assert.deepEqual(found, [["a", 8], ["b", 0]]);
  }
});

test("a step has the outputs and the next carry in the order of the contract", async () => {
  const request = packed({ request: "step", rows: 2 }, stepOf([[1, 1, 1, 1], [2, 3, 4, 5]]));
  const { head, data } = await decoded(await replyTo(fakeRunner(contract), await decoded(request)));
  assert.deepEqual([head.reply, head.rows], ["step", 2]);
  assert.equal(data.length, 2 * (4 * 32 + 4 + 4 + 4 + 1 + 16 + 8));
  const steps = new Int32Array(data.slice(2 * 136, 2 * 140).buffer);
  assert.deepEqual([...steps], [1, 1]);
});

test("solve has answers, steps and the numbers of reasons", async () => {
  const request = packed(
    { request: "solve", rows: 2, slots: 1, halt: "learned", max_steps: 3, deadline: null },
    [boards([2, 1, 1, 1], [5, 1, 1, 1]).inputs.data],
  );
  const { data } = await decoded(await replyTo(fakeRunner(contract), await decoded(request)));
  assert.deepEqual([...new Int32Array(data.buffer)], [4, 3, 3, 3, 0, 4, 4, 4, 2, 3, 0, 1]);
});

const puzzle = boards([1, 1, 1, 1]).inputs.data;
const solving = { request: "solve", rows: 1, slots: 1, halt: "learned", max_steps: 3, deadline: null };
for (const [name, head, arrays] of [
  ["an unknown request", { request: "dance", rows: 1 }, []],
  ["a member of every object", { request: "constructor", rows: 1 }, []],
  ["a list of requests", { request: ["step"], rows: 1 }, stepOf([[1, 1, 1, 1]])],
  ["nothing but padding", solving, [new Int32Array(4)]],
  ["no rows", { request: "step", rows: 0 }, []],
  ["too few bytes", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 1]]).slice(1)],
  ["an id out of range", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 8]])],
  ["2 in a bool", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 1]]).with(2, Uint8Array.of(2))],
]) {
  test(`refused, and answered with an error: ${name}`, async () => {
    const runner = fakeRunner(contract);
    const reply = await decoded(await replyTo(runner, await decoded(packed(head, arrays))));
    assert.equal(reply.head.exit_code, 4);
    assert.match(reply.head.error, /^[A-Z].*\.$|^\w+: expected .*\.$/);
    assert.equal(runner.calls.length, 0);
  });
}

for (const key of ["rows", "slots", "max_steps", "tries", "seed"]) {
  test(`a whole number is written as one: ${key}`, async () => {
    const runner = fakeRunner(contract);
    const line = JSON.stringify({ ...solving, tries: 1, seed: 1, bytes: 16 });
    const ask = async (text) => decoded(await replyTo(runner, await decoded(Buffer.concat([Buffer.from(`${text}\n`), Buffer.from(puzzle.buffer)]))));
    const { head } = await ask(line.replace(new RegExp(`("${key}":\\d+)`), "$1.0"));
    assert.match(head.error, new RegExp(`^${key}: expected a whole number`));
    assert.equal(head.exit_code, key === "rows" ? 4 : 2);
    assert.equal(runner.calls.length, 0);
    assert.equal((await ask(line)).head.reply, "solve");
  });
}

test("deadlines that are no seconds are refused", async () => {
  for (const deadline of [-1, "5", true]) {
    const request = await decoded(packed({ ...solving, deadline }, [puzzle]));
    const { head } = await decoded(await replyTo(fakeRunner(contract), request));
    assert.deepEqual([head.exit_code, head.error.slice(0, 26)], [2, "deadline: expected seconds"]);
  }
});

test("a line has at most 65,536 bytes, its end included", async () => {
  const line = (length) => Buffer.from(`{"bytes":0,"a":"${"x".repeat(length - 19)}"}\n`);
  assert.equal(line(1 << 16).length, 1 << 16);
  for (const size of [1000, 1 << 20]) {
    const { value } = await messages(pieces(line(1 << 16), size)).next();
    assert.equal(value.head.bytes, 0);
    await assert.rejects(messages(pieces(line((1 << 16) + 1), size)).next(), /longer than 65536 bytes/);
  }
});

test("an error of many characters is cut between two of them", async () => {
  const request = await decoded(packed({ request: "step", rows: `x${"\u{1F600}".repeat(3000)}` }));
  const { head } = await decoded(await replyTo(fakeRunner(contract), request));
  assert.ok(head.error.length > 1000);
  assert.doesNotMatch(head.error, /\p{Cs}/u);
});

for (const [name, bytes] of [
  ["no JSON", "hello\n"],
  ["no bytes", "{}\n"],
  ["bytes with a fraction", '{"bytes":0.0}\n'],
  ["an empty line", '\n{"bytes":0}\n'],
  ["a byte order mark", '\uFEFF{"bytes":0}\n'],
  ["no UTF-8", Uint8Array.from([...Buffer.from('{"bytes":0,"a":"'), 255, ...Buffer.from('"}\n')])],
  ["an end in a line", '{"bytes"'],
  ["an end in a message", '{"bytes":4}\nabc'],
  ["a line without an end", "x".repeat(1 << 16)],
]) {
  test(`no message: ${name}`, async () => {
    await assert.rejects(messages(pieces(Buffer.from(bytes), 1 << 20)).next(), { name: "TrmError", exitCode: 4 });
  });
}
