// Checked by tsc, not run: the types of the package, used as in its README.

import * as litert from "@litertjs/core";
import * as ort from "onnxruntime-web";
import { openLitert, openOnnx, readPuzzles, solve, startCarry, step, textOf, TrmError } from "trm-runtime-web";
import type { Runner, Solution, StepEvent, StopReason } from "trm-runtime-web";
import { hello, messages, packed, refusal, replyTo } from "trm-runtime-web/step-server";

export async function boards(bytes: Uint8Array, text: string): Promise<string[]> {
  const runner: Runner = await openOnnx(ort, bytes, { executionProviders: ["wasm"] });
  const inputs = readPuzzles(runner.contract, text);
  const onStep = ({ steps, qHalt }: StepEvent): boolean => steps.length === qHalt.length;
  const found: Solution = await solve(runner, { inputs }, { halt: 2.5, deadline: 1, slots: 8, onStep });
  const again: Solution = await solve(runner, { inputs }, { tries: 8, vary: "both", choose: "vote", seed: 1, sigma: 0.1 });
  const reasons: StopReason[] = again.chosen?.length ? again.reasons : found.reasons;
  const cells = found.answers.shape[1] ?? 0;
  return reasons.map((_, i) => textOf(runner.contract, found.answers.data.subarray(i * cells, (i + 1) * cells)));
}

export async function once(bytes: ArrayBuffer): Promise<number> {
  const runner = await openLitert(litert, bytes, { accelerator: "wasm" }, "2.5.3");
  const carry = startCarry(runner.contract, 1);
  try {
    const { outputs } = await step(runner, { inputs: readPuzzles(runner.contract, "1..4") }, carry);
    return outputs["q_halt_logits"]?.data[0] ?? NaN;
  } catch (error) {
    return error instanceof TrmError ? error.exitCode : 1;
  }
}

export async function* replies(runner: Runner, stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield hello(runner, "a driver");
  try {
    for await (const message of messages(stream)) yield await replyTo(runner, message);
  } catch (error) {
    yield refusal(error);
  }
  yield packed({ request: "step", rows: 1 }, [Int32Array.of(1)]);
}

// @ts-expect-error a rule that does not exist
export const wrong = (runner: Runner): Promise<Solution> => solve(runner, {}, { halt: "never" });
