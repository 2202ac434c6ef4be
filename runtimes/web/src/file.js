// The contract inside an exported file, after its checksum: docs/contract.md, "Where the contract is".
// Knows no engine. Files are untrusted: only what is needed is read, within the bytes that are there.

import { TrmError } from "./errors.js";
import { sha256 } from "./sha256.js";

const MOST = 1 << 20; // bytes of a contract, and of the directory of an archive
const SEAL = latin("\x72\x53\x0a\x0ftrm_file.sha256\x12\x40");
const DIGITS = 64;
const VERSION_TAG = 8;

// Messages of onnx.proto that can hold a tensor: field number to message.
const INNER = {
  model: { 7: "graph", 20: "training", 25: "function" },
  training: { 1: "graph", 2: "graph" },
  function: { 7: "node", 11: "attribute" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: {},
};
const [EXTERNAL_DATA, DATA_LOCATION, METADATA] = [13, 14, 14];

/** The bytes of a file, which may be in an ArrayBuffer. */
export function bytesOf(file) {
  if (ArrayBuffer.isView(file)) return new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
  if (Object.prototype.toString.call(file) === "[object ArrayBuffer]") return new Uint8Array(file);
  throw new TrmError("Expected the bytes of a file, in a Uint8Array or an ArrayBuffer.", 2);
}

/** "tflite" by the letters at offset 4, "onnx" by its first field, the version; refuses what is neither. */
export function formatOf(file) {
  const bytes = bytesOf(file);
  if (text(bytes.subarray(4, 8)) === "TFL3") return "tflite";
  if (bytes[0] === VERSION_TAG) return "onnx";
  throw new TrmError("This is neither an ONNX nor a TFLite file.");
}

/** The text of the contract in a file, whose checksum is right. */
export function contractText(file) {
  const bytes = bytesOf(file);
  const found = formatOf(bytes) === "tflite" ? ofTflite(bytes) : ofOnnx(bytes);
  if (!found) throw new TrmError("The file has no step contract; export it with trm-export.");
  if (found.length > MOST) throw new TrmError(`The step contract has more than ${MOST} bytes.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(found);
  } catch {
    throw new TrmError("The step contract is not UTF-8 text.");
  }
}

function ofOnnx(bytes) {
  const end = bytes.length - SEAL.length - DIGITS;
  const sealed = end > 0 && SEAL.every((byte, i) => bytes[end + i] === byte);
  checkDigest(bytes, end, sealed ? bytes.subarray(-DIGITS) : undefined);
  try {
    refuseExternal(bytes);
    return metadata(bytes, "trm_contract");
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TrmError("The file is not an ONNX file, or is damaged.");
  }
}

function checkDigest(bytes, end, digits) {
  if (!digits) throw new TrmError("The file has no checksum, so it is damaged or was rewritten.");
  if (sha256(bytes.subarray(0, end)) === text(digits)) return;
  throw new TrmError("The file does not match its checksum, so it is damaged or was changed.");
}

/** Every field of a protobuf message: its number, and its bytes or its number. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = message[at++] ?? tooShort();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return tooShort();
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (field === 0) tooShort();
    if (wire === 0) {
      yield [field, varint()];
      continue;
    }
    const size = wire === 2 ? varint() : ({ 1: 8, 5: 4 }[wire] ?? tooShort());
    if (size > message.length - at) tooShort();
    yield [field, message.subarray(at, (at += size))];
  }
}

function tooShort() {
  throw new RangeError("not a complete message");
}

function metadata(bytes, key) {
  for (const [field, entry] of fields(bytes)) {
    if (field !== METADATA || typeof entry === "number") continue;
    const { 1: name, 2: value = new Uint8Array() } = Object.fromEntries(fields(entry));
    const isText = [name, value].every((part) => part instanceof Uint8Array);
    if (isText && text(name) === key) return value;
  }
  return undefined;
}

function refuseExternal(bytes) {
  const waiting = [["model", bytes]];
  while (waiting.length) {
    const [kind, message] = waiting.pop();
    for (const [field, value] of fields(message)) {
      const inner = INNER[kind][field];
      if (inner && typeof value !== "number") waiting.push([inner, value]);
      if (kind !== "tensor") continue;
      if (field === EXTERNAL_DATA || (field === DATA_LOCATION && value === 1)) {
        throw new TrmError("The file has tensors in other files; export it as one file.");
      }
    }
  }
}

function ofTflite(bytes) {
  let members;
  try {
    members = archive(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TrmError("The ZIP archive at the end of the file is damaged.");
  }
  const contract = members.get("trm_contract.json");
  const [sum, old] = ["trm_file.sha256", "trm_flatbuffer.sha256"].map((name) => members.get(name));
  const starts = [...members.values()].map((member) => member.start);
  if (sum && sum.start < Math.max(...starts)) {
    throw new TrmError("The file has a member behind its checksum, so it was changed.");
  }
  // Only in a file of schema version 1, which the reader of the contract compares.
  checkDigest(bytes, sum ? sum.start : Math.min(...starts), (sum ?? old)?.data);
  if (!sum && contract && !/"schema_version":\s*1\b/.test(text(contract.data))) {
    throw new TrmError("The checksum of the file does not cover its contract; export it again.");
  }
  return contract?.data;
}

/** The stored members of the ZIP archive at the end: name to its start and its data. */
function archive(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let end = bytes.length - 22;
  const first = Math.max(0, bytes.length - 65557);
  while (end >= first && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < first || end + 22 + view.getUint16(end + 20, true) !== bytes.length) {
    throw new TrmError("The file does not end with its ZIP archive: it is truncated or damaged.");
  }
  const [count, size] = [view.getUint16(end + 10, true), view.getUint32(end + 12, true)];
  if (size > MOST) throw new TrmError("The directory of the ZIP archive is too large.");
  const members = new Map();
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < count; i++) {
    const short = (offset) => view.getUint16(at + offset, true);
    const [length, start] = [view.getUint32(at + 24, true), view.getUint32(at + 42, true)];
    const name = text(bytes.subarray(at + 46, at + 46 + short(28)));
    if (short(8) & 1 || short(10)) throw new TrmError(`The member ${name} is not stored as it is.`);
    if (members.has(name)) throw new TrmError(`The archive has two members ${name}.`);
    const from = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    if (from + length > end) tooShort();
    members.set(name, { start, data: bytes.subarray(from, from + length) });
    at += 46 + short(28) + short(30) + short(32);
  }
  return members;
}

function text(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}

function latin(letters) {
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}
