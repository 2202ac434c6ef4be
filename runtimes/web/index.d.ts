/** Runs exported step graphs in browsers and in node; engines are passed in. */

export type DType = "float32" | "int32" | "bool" | "int8";
export type StopReason = "halted" | "max_steps" | "deadline" | "cancelled" | "nonfinite";

/** A tensor with the batch on axis 0; a bool has the elements 0 and 1. */
export interface Tensor {
  dtype: DType;
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array | Int8Array;
}

/** Tensors by name. */
export type Tensors = Record<string, Tensor>;

/** A tensor of the contract; null is a dynamic batch. */
export interface TensorSpec {
  name: string;
  dtype: DType;
  shape: (number | null)[];
  scale?: number;
  zero_point?: number;
}

export interface CarrySpec extends TensorSpec {
  next: string;
  fill: boolean | number;
}

/** The step contract, as in the file: docs/contract.md. */
export interface StepContract {
  schema_version: 1 | 2;
  model_name: string;
  precision: string;
  batch: number | null;
  inputs: TensorSpec[];
  carry: CarrySpec[];
  outputs: TensorSpec[];
  halt: { kind: "q_halt" | "q_halt_minus_q_continue"; threshold: number; trained?: number | null; settled?: number | null };
  max_steps: number;
  made_by: { tool: string; versions: Record<string, string>; weights_sha256: string; config_digest: string };
  granularity: "step" | "loop" | "block";
  passes: number;
  alphabet: string[] | null;
  num_puzzle_identifiers: number | null;
  puzzle_table_sha256?: string | null;
  /** Coefficients of the probability that an answer is right; this package does not use them. */
  confidence?: {
    bias: number;
    score: number;
    moved: number;
    agreement: number;
    puzzles: number;
    tries: number;
  } | null;
  symmetries?: { positions: number[][]; tokens: number[][] } | null;
}

export interface StepResult {
  outputs: Tensors;
  carry: Tensors;
}

/** A file in an engine. `call` is one call of its graph, unchecked; use `step` or `solve`. */
export interface Runner {
  readonly contract: StepContract;
  readonly engine: string;
  call(inputs: Tensors, carry: Tensors): Promise<StepResult>;
  close(): void | Promise<void>;
}

/** One engine call: what is now known of the puzzles in it. */
export interface StepEvent extends StepResult {
  puzzles: number[];
  steps: number[];
  answers: Int32Array[];
  qHalt: number[];
  /** True once for each puzzle; with several tries at the end of its last one. */
  finished: boolean[];
  /** With several tries: which one each is, from 0; steps, answers and qHalt are those of it. */
  tries?: number[];
}

export interface SolveOptions {
  /** The rule of the contract (the default), all steps, or a threshold in logits. */
  halt?: "learned" | "max_steps" | number;
  /** 1 to the steps of the contract, which is the default. */
  maxSteps?: number;
  /** Seconds; checked before every call. */
  deadline?: number | null;
  /** Rows of a call: by default 64; with a fixed batch only that. */
  slots?: number;
  /** How often a puzzle is asked whose answer is not sure; 1 by default, 65536 at most. */
  tries?: number;
  /** How tries differ: another guise by the symmetries of the contract (the default), noise, or both. */
  vary?: "symmetry" | "noise" | "both";
  /** The answer: of the highest score (the default), of the first sure try, or the most frequent one. */
  choose?: "score" | "first" | "vote";
  /** What the tries are drawn from: 0 (the default) to 2^32 - 1. */
  seed?: number;
  /** The deviation of the noise; 0.2 by default. */
  sigma?: number;
  /** Called after every call; false cancels. */
  onStep?: (event: StepEvent) => unknown;
}

export interface Solution {
  /** (N, S) int32 token ids. */
  answers: Tensor & { data: Int32Array };
  steps: Int32Array;
  qHalt: Float32Array;
  reasons: StopReason[];
  /** With several tries: how many were begun, their steps together, and which one gave the answer. */
  tries?: Int32Array;
  totalSteps?: Int32Array;
  chosen?: Int32Array;
}

export class TrmError extends Error {
  constructor(message: string, exitCode?: number);
  exitCode: number;
}

export const STOP_REASONS: readonly StopReason[];

/** A runner of an ONNX file; `ort` is the module onnxruntime-web, `options` are its session options. */
export function openOnnx(ort: object, file: Uint8Array | ArrayBuffer, options?: object): Promise<Runner>;

/**
 * A runner of a TFLite file; `litert` is the module @litertjs/core, after its `loadLiteRt`. `options` are
 * those of `loadAndCompile`; an accelerator other than "wasm" may need `loadLiteRt(path, { jspi: true })`.
 */
export function openLitert(
  litert: object,
  file: Uint8Array | ArrayBuffer,
  options?: object,
  version?: string,
): Promise<Runner>;

/** Solve N puzzles; `puzzles` has a tensor of N rows for every input of the contract. */
export function solve(runner: Runner, puzzles: Tensors, options?: SolveOptions): Promise<Solution>;

/** One ACT step: a call, or the passes of a block; checked on both sides. */
export function step(runner: Runner, inputs: Tensors, carry: Tensors): Promise<StepResult>;

/** The carry before the first call. */
export function startCarry(contract: StepContract, rows: number): Tensors;

/** The text of the contract in a file, whose checksum is right; and the file's format, or an error. */
export function contractText(file: Uint8Array | ArrayBuffer): string;
export function formatOf(file: Uint8Array | ArrayBuffer): "onnx" | "tflite";

/** The contract in a JSON text, which keeps every rule. */
export function parseContract(text: string): StepContract;

/** The cells of a puzzle, and the number of token ids. */
export function sizesOf(contract: StepContract): { cells: number; ids: number };

/** The puzzles of a text, (N, S); token ids as text; token id of each character. */
export function readPuzzles(contract: StepContract, text: string): Tensor & { data: Int32Array };
export function textOf(contract: StepContract, tokens: ArrayLike<number>): string;
export function idsOf(contract: StepContract): Map<string, number>;
