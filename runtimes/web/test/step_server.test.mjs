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

for (const [name, head, arrays] of [
  ["an unknown request", { request: "dance" }, []],
  ["no rows", { request: "step", rows: 0 }, []],
  ["too few bytes", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 1]]).slice(1)],
  ["an id out of range", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 8]])],
  ["2 in a bool", { request: "step", rows: 1 }, stepOf([[1, 1, 1, 1]]).with(2, Uint8Array.of(2))],
]) {
  test(`refused, and answered with an error: ${name}`, async () => {
    const runner = fakeRunner(contract);
    const reply = await decoded(await replyTo(runner, await decoded(packed(head, arrays))));
    assert.equal(reply.head.exit_code, 4);
    assert.equal(runner.calls.length, 0);
  });
}

for (const [name, bytes] of [
  ["no JSON", "hello\n"],
  ["no bytes", "{}\n"],
  ["an end in a line", '{"bytes"'],
  ["an end in a message", '{"bytes":4}\nabc'],
  ["a line without an end", "x".repeat(1 << 16)],
]) {
  test(`no message: ${name}`, async () => {
    await assert.rejects(messages(pieces(Buffer.from(bytes), 1 << 20)).next(), { name: "TrmError", exitCode: 4 });
  });
}
