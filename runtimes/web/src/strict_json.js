// JSON as docs/contract.md wants it: no key twice, no half of a surrogate pair, and a memory of
// which numbers were written with a fraction or an exponent, which `JSON.parse` forgets.

import { firstLine, TrmError } from "./errors.js";

const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[{}[\]]/g;
const DEEPEST = 100;

/** The value of a JSON text, and the paths of its numbers that are not whole, such as `halt.threshold`. */
export function parseStrict(text, what) {
  try {
    JSON.parse(text); // the syntax; what follows relies on it
    const tokens = text.match(TOKEN).values();
    const decimals = new Set();
    return { value: read(tokens, tokens.next().value, "", decimals, 0), decimals };
  } catch (error) {
    throw new TrmError(`${what} is not valid JSON: ${firstLine(error)}.`);
  }
}

function read(tokens, token, path, decimals, depth) {
  if (depth > DEEPEST) throw new Error("it is nested too deeply");
  if (token === "{") return readObject(tokens, path, decimals, depth);
  if (token === "[") {
    const list = [];
    for (let next; (next = tokens.next().value) !== "]"; ) {
      list.push(read(tokens, next, `${path}[${list.length}]`, decimals, depth + 1));
    }
    return list;
  }
  const value = JSON.parse(token);
  if (typeof value === "string" && /\p{Cs}/u.test(value)) {
    throw new Error("it has half of a surrogate pair");
  }
  if (typeof value === "number" && /[.eE]/.test(token)) decimals.add(path);
  return value;
}

function readObject(tokens, path, decimals, depth) {
  const pairs = new Map();
  for (let token; (token = tokens.next().value) !== "}"; ) {
    const key = read(tokens, token, "", decimals, depth);
    if (pairs.has(key)) throw new Error(`the key ${JSON.stringify(key)} appears twice in one object`);
    const inner = path ? `${path}.${key}` : key;
    pairs.set(key, read(tokens, tokens.next().value, inner, decimals, depth + 1));
  }
  return Object.fromEntries(pairs);
}
