// The contract, files and puzzles: what is read, and what is refused.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";

import { contractText, formatOf, parseContract, readPuzzles, textOf } from "../src/index.js";
import { sha256 } from "../src/sha256.js";
import { entry, field, makeContract, sealed } from "./fakes.mjs";

const MODELS = process.env.TRM_MODELS; // a folder of exported files

test("the digest is that of node, at every length around a block", () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 100_003]) {
    const bytes = Uint8Array.from({ length: size + 3 }, (_, i) => (i * 31) % 251).subarray(3);
    assert.equal(sha256(bytes), createHash("sha256").update(bytes).digest("hex"), `${size}`);
  }
});

test("a contract is read as it is", () => {
  const symmetries = { positions: [[1, 0, 3, 2]], tokens: [[2, 3], [4, 5]] };
  const confidence = { bias: -1, score: 0.5, moved: -0.25, agreement: 2, puzzles: 400, tries: 8 };
  const kinds = [{}, { batch: 1, halted: "int32" }, { symmetries }, { symmetries: null }, { confidence }];
  for (const contract of kinds.map(makeContract)) {
    assert.deepEqual(parseContract(JSON.stringify(contract)), contract);
  }
});

const changed = (change) => () => {
  const contract = makeContract();
  change(contract);
  return JSON.stringify(contract);
};
const symmetric = (symmetries) => changed((contract) => Object.assign(contract, { symmetries }));
const text = JSON.stringify(makeContract());
for (const [name, broken, words] of [
  ["no JSON", () => "{", /not valid JSON/],
  ["no object", () => "[]", /expected an object/],
  ["nested too deeply", () => "[".repeat(9000) + "]".repeat(9000), /too deeply/],
  ["a key twice", () => text.replace("{", '{"batch":1,'), /"batch" appears twice/],
  ["half a surrogate pair", () => text.replace("fake", "\\ud800"), /surrogate/],
  ["a whole number with a fraction", () => text.replace('"max_steps":6', '"max_steps":6.0'), /max_steps: expected whole/],
  ["a size with an exponent", () => text.replace("[null,4]", "[null,4e0]"), /inputs\[0\]\.shape/],
  ["a newer schema", changed((c) => Object.assign(c, { schema_version: 3, more: 1 })), /^(?!.*more).*upgrade/],
  ["no schema", changed((c) => (c.schema_version = 0)), /schema_version/],
  ["an unknown key", changed((c) => (c.more = 1)), /more: unknown key/],
  ["an unknown key inside", changed((c) => (c.halt.more = 1)), /halt\.more: unknown key/],
  ["a missing key", changed((c) => delete c.halt), /halt: missing/],
  ["another type", changed((c) => (c.max_steps = "6")), /max_steps: expected whole/],
  ["an unknown dtype", changed((c) => (c.inputs[0].dtype = "int64")), /inputs\[0\]\.dtype/],
  ["another batch", changed((c) => (c.carry[0].shape = [2])), /steps: axis 0/],
  ["other cells", changed((c) => (c.carry[2].shape = [null, 5])), /current_inputs: expected int32/],
  ["a wrong next", changed((c) => (c.carry[3].next = "q")), /next must be z_next/],
  ["a name twice", changed((c) => (c.outputs[1].name = "logits")), /logits: several/],
  ["a tensor that lacks", changed((c) => c.outputs.pop()), /q_continue_logits: missing/],
  ["a fill that lets a carry through", changed((c) => (c.carry[1].fill = false)), /halted: fill/],
  ["a fill of another type", changed((c) => (c.carry[0].fill = true)), /carry\[0\]\.fill/],
  ["a fill out of range", changed((c) => (c.carry[3].fill = 1e39)), /z: fill/],
  ["an int8 tensor without a scale", changed((c) => (c.carry[3].dtype = "int8")), /carry\[3\]\.scale: missing/],
  ["passes of a step", changed((c) => (c.passes = 2)), /passes/],
  ["carry in a loop", changed((c) => (c.granularity = "loop")), /a loop has none/],
  ["a threshold beyond all numbers", () => text.replace('"threshold":0', '"threshold":1e301'), /threshold/],
  ["a short alphabet", changed((c) => c.alphabet.pop()), /alphabet: expected one entry/],
  ["a character in two entries", changed((c) => (c.alphabet[2] = "12")), /two entries/],
  ["a line end in the alphabet", changed((c) => (c.alphabet[2] = "\n")), /cannot be printed/],
  ["an escape in a name", changed((c) => (c.model_name = "\u001b[2J")), /cannot be printed/],
  ["symmetries without tokens", symmetric({ positions: [] }), /expected symmetries/],
  ["a symmetry that is no permutation", symmetric({ positions: [[0, 1, 2, 2]], tokens: [] }), /expected permutations/],
  ["a symmetry of other cells", symmetric({ positions: [[0, 1, 2]], tokens: [] }), /expected permutations/],
  ["a symmetry of halves", symmetric({ positions: [[0, 1, 2, 0.5]], tokens: [] }), /expected symmetries/],
  ["a class of one token", symmetric({ positions: [], tokens: [[2]] }), /symmetries\.tokens/],
  ["a token in two classes", symmetric({ positions: [], tokens: [[2, 3], [3, 4]] }), /symmetries\.tokens/],
  ["a token that is none", symmetric({ positions: [], tokens: [[2, 8]] }), /symmetries\.tokens/],
  ["a movement of 0", changed((c) => (c.halt.settled = 0)), /halt\.settled: expected a number above 0/],
  ["a confidence without coefficients", changed((c) => (c.confidence = { puzzles: 1, tries: 1 })), /expected confidence/],
  ["identifiers without an input", changed((c) => (c.num_puzzle_identifiers = 1)), /num_puzzle_identifiers/],
  ...["constructor", "toString", "__proto__"].flatMap((member) => [
    [`an input ${member}`, changed((c) => c.inputs.push({ ...c.inputs[0], name: member })), /unknown input/],
    [`a dtype ${member}`, changed((c) => (c.carry[0].dtype = member)), /carry\[0\]\.dtype: expected one of/],
    [`a key ${member}`, () => text.replace("{", `{"${member}":{},`), /unknown key/],
    [`a key ${member} inside`, () => text.replace('"halt":{', `"halt":{"${member}":{},`), /halt\..*unknown key/],
  ]),
]) {
  test(`a contract is refused: ${name}`, () => {
    assert.throws(() => parseContract(broken()), words);
  });
}

const files = MODELS ? readdirSync(MODELS).filter((name) => /\.(onnx|tflite)$/.test(name)) : [];
for (const name of files) {
  const bytes = readFileSync(join(MODELS, name));
  test(`the contract in ${name} is that beside it`, () => {
    assert.equal(contractText(bytes), readFileSync(join(MODELS, `${name}.json`), "utf8"));
    parseContract(contractText(bytes));
  });
  test(`a damaged ${name} is refused`, () => {
    for (const share of [0, 0.01, 0.5, 0.9, 0.99, 1]) {
      const copy = Uint8Array.from(bytes);
      copy[Math.round(share * (copy.length - 1))] ^= 4;
      assert.throws(() => contractText(copy), { name: "TrmError" }, `${share}`);
    }
    for (const end of [0, 3, 100, bytes.length - 1]) {
      assert.throws(() => contractText(bytes.subarray(0, end)), { name: "TrmError" }, `${end}`);
    }
    assert.throws(() => contractText(Buffer.concat([bytes, Buffer.from("x")])), { name: "TrmError" });
  });
}
test("exported files are read", { skip: MODELS ? false : "TRM_MODELS names no folder" }, () => {
  assert.ok(files.length > 0);
});

test("the contract of an ONNX file is the first entry that has its key and bytes", () => {
  const own = entry("trm_contract", text);
  const others = { "a number as key": [114, 4, 8, 5, 18, 0], "a number as value": [114, 4, 10, 0, 16, 5] };
  const number = field(14, [...field(1, Buffer.from("trm_contract")), 16, 5]);
  for (const [name, other] of Object.entries({ ...others, "a number as contract": number })) {
    assert.equal(contractText(sealed(other, own, entry("trm_contract", "{}"))), text, name);
    assert.throws(() => contractText(sealed(other)), /no step contract/, name);
  }
});

test("a file may be an ArrayBuffer", () => {
  const { buffer } = Uint8Array.from(sealed(entry("trm_contract", text)));
  assert.equal(contractText(buffer), text);
  assert.equal(formatOf(buffer), "onnx");
  for (const other of [undefined, null, "model.onnx", { length: 9 }]) {
    assert.throws(() => contractText(other), { message: /Uint8Array or an ArrayBuffer/, exitCode: 2 });
  }
});

test("what is neither an ONNX nor a TFLite file is named", () => {
  for (const written of ["", "<!doctype html><title>404</title>", "version https://git-lfs.github.com/spec/v1"]) {
    const refused = { name: "TrmError", message: "This is neither an ONNX nor a TFLite file." };
    assert.throws(() => contractText(Buffer.from(written)), refused, written);
  }
});

test("a field without a number is refused", () => {
  assert.throws(() => contractText(sealed([0, 0], entry("trm_contract", text))), /is not an ONNX file/);
});

const sudoku = makeContract();
const maze = makeContract({ alphabet: ["", "#", "._ ", "S", "G", "o", "", ""] });
const maze9 = { ...maze, inputs: [{ ...maze.inputs[0], shape: [null, 9] }] };
for (const [name, contract, written, wanted] of [
  ["a line", sudoku, "12.4\n", ["12.4"]],
  ["a grid", sudoku, "1 2\n. 4\n", ["12.4"]],
  ["bars and rules", sudoku, "+-+-+\n|1|2|\n+-+-+\n|0|4|\n", ["12.4"]],
  ["a comment and two puzzles", sudoku, "# two\n12.4\n\n.1.2\r\n", ["12.4", ".1.2"]],
  ["a table with solutions", sudoku, "12.4,1234\n", ["12.4"]],
  ["a list", sudoku, "[1, 2, 0, 4]", ["12.4"]],
  ["a maze with spaces", maze, "# #G", ["#.#G"]],
  ["the rows of a maze", maze, "# \nSG", ["#.SG"]],
  ["a maze and its solution", maze, "# SG,#oSG\n#  G\t#ooG\t2\n", ["#.SG", "#..G"]],
  ["a maze in quotes, with a number", maze, '7;"S  G"\n', ["S..G"]],
  ["the cells of a maze apart", maze, "#,.,S,G\n", ["#.SG"]],
  ["a maze that begins and ends with spaces", maze, "  SG\n#S  \n", ["..SG", "#S.."]],
  ["a maze with spaces around", maze, "   # SG \n", ["#.SG"]],
  ["the rows of a maze with spaces around", maze9, "  #S#\n  # # \n  #G#\n", ["#S##.##G#"]],
  ["the rows of two mazes, with a line of spaces between", maze, "#S\n G\n  \nSG\n  \n", ["#S.G", "SG.."]],
  ["a remark above a maze", maze, "# a remark\n# SG\n", ["#.SG"]],
  ["remarks above the rows of mazes", maze, "# one: 1\n#S\n G\n\n# two\nSG\n##\n", ["#S.G", "SG##"]],
]) {
  test(`puzzles are read: ${name}`, () => {
    const { shape, data } = readPuzzles(contract, written);
    assert.deepEqual(shape, [wanted.length, wanted[0].length]);
    assert.equal(textOf(contract, data), wanted.join(""));
  });
}
for (const [name, contract, written, words] of [
  ["nothing", sudoku, "\n", /no puzzles/],
  ["too few cells", sudoku, "123", /Line 1: expected 4 cells/],
  ["half a grid", sudoku, "12\n", /2 of 4 cells/],
  ["another sign", sudoku, "12x4", /Line 1: x is not one of/],
  ["a line of spaces", maze, "    \n", /no puzzles/],
  ["another sign in a maze", maze, "#xSG\n", /Line 1: x is not one of/],
  ["too many cells of a maze", maze, "#.S.G\n", /Line 1: expected 4 cells/],
  ["a remark in a maze", maze, "#S\n# a remark\n G\n", /Line 1: expected 2 lines of 2 cells, got 1/],
  ["a cut puzzle before its solution", sudoku, "123,1234", /Line 1: expected 4 cells/],
  ["a remark below a line", maze, "# SG\n# a remark\n", /Line 2: expected 4 cells/],
]) {
  test(`puzzles are refused: ${name}`, () => {
    assert.throws(() => readPuzzles(contract, written), words);
  });
}

test("token ids without a character are printed as ?, and none without an alphabet", () => {
  assert.equal(textOf(maze, [0, 1, 6, 2, 99]), "?#?.?");
  const refused = { name: "TrmError", message: /^The model has no alphabet; / };
  assert.throws(() => textOf(makeContract({ alphabet: null }), [1, 2]), refused);
  assert.throws(() => readPuzzles(makeContract({ alphabet: null }), "1 2"), refused);
});
