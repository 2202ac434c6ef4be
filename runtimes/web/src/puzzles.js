// Puzzles in a text, such as a paste: one a line, or one over the lines of a grid.
//
// Between the cells there may be spaces, commas, bars and the like, where these are no cells. In a
// line with several boards (a table) the first one is the puzzle. Knows the alphabet of the contract.

import { sizesOf } from "./contract.js";
import { TrmError } from "./errors.js";

const BETWEEN = new Set(" \t,;:=[](){}\"'|!+-*─│┌┐└┘├┤┬┴┼━┃═║");

/** Token id of each character of the alphabet. */
export function idsOf(contract) {
  if (!contract.alphabet) throw new TrmError("The model has no alphabet: give token ids.");
  return new Map(contract.alphabet.flatMap((entry, id) => [...entry].map((sign) => [sign, id])));
}

/** The characters of token ids. */
export function textOf(contract, tokens) {
  return Array.from(tokens, (id) => [...contract.alphabet[id]][0] ?? " ").join("");
}

/** Every puzzle of a text, as a tensor (N, S); refuses lines that fit no board, by their number. */
export function readPuzzles(contract, text) {
  const ids = idsOf(contract);
  const { cells: size } = sizesOf(contract);
  const side = Math.round(Math.sqrt(size));
  const [tokens, rows] = [[], []];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const cells = cellsOf(line, ids, size, side);
    if (!cells.length) continue;
    const place = `Line ${index + 1}`;
    if (![side, size].includes(cells.length) || (rows.length && cells.length !== side)) {
      throw new TrmError(`${place}: expected ${size} cells, or ${side} of a row, got ${cells.length}.`);
    }
    const wrong = cells.find((sign) => !ids.has(sign));
    if (wrong) throw new TrmError(`${place}: ${wrong} is not one of ${[...ids.keys()].join("")}.`);
    rows.push(...cells.map((sign) => ids.get(sign)));
    if (rows.length === size) tokens.push(...rows.splice(0));
  }
  if (rows.length) throw new TrmError(`The last grid has ${rows.length} of ${size} cells.`);
  if (!tokens.length) throw new TrmError("There are no puzzles in the text.");
  return { dtype: "int32", shape: [tokens.length / size, size], data: Int32Array.from(tokens) };
}

function cellsOf(line, ids, size, side) {
  if (!ids.has("#") && line.trimStart().startsWith("#")) return []; // a comment
  const bare = (text) => [...text].filter((sign) => ids.has(sign) || !BETWEEN.has(sign));
  if (ids.has(" ")) {
    const fits = [line, line.trim()].find((text) => [side, size].includes([...text].length));
    return fits ? [...fits] : line.trim() ? bare(line.trim()) : [];
  }
  if (bare(line).length === side || bare(line).length === size) return bare(line);
  const fields = line.split(/[,;\t ]+/).map(bare);
  return fields.find((field) => field.length === size) ?? bare(line);
}
