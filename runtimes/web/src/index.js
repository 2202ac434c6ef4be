// Runs exported step graphs (docs/contract.md) in browsers and in node. Has no dependencies: engines
// are passed in.

export { parseContract, sizesOf } from "./contract.js";
export { TrmError } from "./errors.js";
export { contractText, formatOf } from "./file.js";
export { openLitert } from "./litert.js";
export { solve, step, STOP_REASONS } from "./loop.js";
export { openOnnx } from "./onnx.js";
export { idsOf, readPuzzles, textOf } from "./puzzles.js";
export { startCarry } from "./tensors.js";
