// Puzzles in a text, such as a paste: one a line, or one over the lines of a grid.
//
// Between the cells there may be spaces, commas, bars and the like, where these are no cells. In a
// line with several boards (a table) the first one is the puzzle. A line that starts with # is a comment;
// where # is a cell, it is one only above a board, and if it does not look like a board. Where a space is a
// cell, a text has boards of one form, and nothing but rules between the rows of one. Knows the alphabet of the
// contract.

import { sizesOf } from "./contract.js";
import { TrmError } from "./errors.js";

const RULES = " \t:=|!+-*─│┌┐└┘├┤┬┴┼━┃═║"; // between rows
const BETWEEN = new Set(`${RULES},;[](){}"'`); // between cells

/** Token id of each character of the alphabet. */
export function idsOf(contract) {
  if (!contract.alphabet) throw new TrmError("The model has no alphabet; give token ids.");
  return new Map(contract.alphabet.flatMap((entry, id) => [...entry].map((sign) => [sign, id])));
}

/** The characters of token ids, ? for one without a character. */
export function textOf({ alphabet }, tokens) {
  if (!alphabet) throw new TrmError("The model has no alphabet; print the token ids as numbers.");
  return Array.from(tokens, (id) => [...(alphabet[id] ?? "")][0] ?? "?").join("");
}

/** Every puzzle of a text, as a tensor (N, S); refuses lines that fit no board, by their number. */
export function readPuzzles(contract, text) {
  const board = new Board(contract);
  const { ids, size, side, isSpaced } = board;
  const [tokens, rows] = [[], []];
  let [isAlone, isDrawn] = [false, false]; // what boards there were: of a line, and of several
  let first; // the number of the first line of a board
  for (const [index, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    // Below a board of one line there are no remarks.
    if (!rows.length && (!line.trim() || (!isAlone && board.isRemark(line)))) continue;
    const cells = board.cells(line);
    const { length } = cells;
    if (isSpaced && rows.length && length !== side && !board.isRule(line)) {
      throw new TrmError(`Line ${first}: expected ${side} lines of ${side} cells, got ${rows.length / side}.`);
    }
    if (!length) continue;
    const place = `Line ${index + 1}`;
    const isOther = isSpaced && (length < size ? isAlone : isDrawn);
    if (!board.fits(cells) || (rows.length && length !== side) || isOther) {
      throw new TrmError(`${place}: expected ${size} cells, or ${side} of a row, got ${length}.`);
    }
    const wrong = cells.find((sign) => !ids.has(sign));
    if (wrong) throw new TrmError(`${place}: ${wrong} is not one of ${[...ids.keys()].join("")}.`);
    if (!rows.length) first = index + 1;
    isAlone ||= length === size;
    isDrawn ||= length < size;
    rows.push(...cells.map((sign) => ids.get(sign)));
    if (rows.length === size) tokens.push(...rows.splice(0));
  }
  if (rows.length) throw new TrmError(`The last grid has ${rows.length} of ${size} cells.`);
  if (!tokens.length) throw new TrmError("There are no puzzles in the text.");
  return { dtype: "int32", shape: [tokens.length / size, size], data: Int32Array.from(tokens) };
}

/** How the boards of a model are written. */
class Board {
  constructor(contract) {
    this.ids = idsOf(contract);
    this.size = sizesOf(contract).cells;
    this.side = Math.round(Math.sqrt(this.size));
    this.isSpaced = this.ids.has(" ");
  }

  /** Whether a line is only drawn, between the rows of a board. */
  isRule(line) {
    return line !== "" && [...line].every((sign) => RULES.includes(sign) && !this.ids.has(sign));
  }

  /** Whether there are as many signs as a board has, or a row of one. */
  fits({ length }) {
    return length === this.side || length === this.size;
  }

  /** The signs of the first board in a line, or of a row; what fits neither is to be refused. */
  cells(line) {
    if (!this.ids.has("#") && line.trimStart().startsWith("#")) return []; // a comment
    if (this.isSpaced) return this.#spaced(line.replaceAll('"', ""));
    const bare = this.#bare(line);
    if (this.fits(bare)) return bare;
    const found = this.#first(line.split(/[,;\t ]+/).map((field) => this.#bare(field)));
    return found?.length === this.size ? found : bare;
  }

  /** Whether a line is a remark where # is a cell: it has other signs, and is no board with wrong ones. */
  isRemark(line) {
    const signs = this.#bare(line.trim());
    const known = this.#known(signs);
    const isBoard = this.fits(signs) && 2 * known >= signs.length;
    return signs[0] === "#" && known < signs.length && !isBoard && !this.#looksLike(signs);
  }

  #known(signs) {
    return signs.filter((sign) => this.ids.has(sign)).length;
  }

  /** Whether signs could be a board, perhaps with some cells too few or too many. */
  #looksLike(signs) {
    return 2 * signs.length >= this.size && 4 * this.#known(signs) >= 3 * signs.length;
  }

  /** The first field that is or looks like a board: a solution behind one that is cut is not the puzzle. */
  #first(fields) {
    return fields.find((signs) => signs.length === this.size || this.#looksLike(signs));
  }

  /** The cells of a line where a space is one, also at the ends, as long as there are not too many. */
  #spaced(line) {
    const whole = [this.size, this.side].map((size) => trimmed(line, size)).find((signs) => this.fits(signs));
    const separators = [...",;:\t|"].filter((sign) => !this.ids.has(sign)).join("");
    const fields = line.split(new RegExp(`[${separators}]`)).filter(Boolean).map((field) => trimmed(field, this.size));
    const found = whole ?? this.#first(fields);
    if (found) return whole || found.length === this.size ? found : [...line];
    const isApart = [this.size, 2 * this.size].includes(fields.length);
    if (isApart && fields.every(({ length }) => length === 1)) return fields.flat().slice(0, this.size);
    return this.isRule(line) ? [] : [...line];
  }

  #bare(text) {
    return [...text].filter((sign) => this.ids.has(sign) || !BETWEEN.has(sign));
  }
}

/** The signs of a text, without spaces at its ends as long as there are more than `most`. */
function trimmed(text, most) {
  const signs = [...text];
  let [from, end] = [0, signs.length];
  while (end - from > most && signs[from] === " ") from++;
  while (end - from > most && signs[end - 1] === " ") end--;
  return signs.slice(from, end);
}
