// A contract, and a runner that computes what a test can predict.

const spec = (name, dtype, shape) => ({ name, dtype, shape });
const carried = (name, dtype, shape, fill) => ({ ...spec(name, dtype, shape), next: `${name}_next`, fill });

/** Boards of 4 cells with the token ids 0 to 7. */
export function makeContract({ batch = null, halted = "bool", ...more } = {}) {
  return {
    schema_version: 2,
    model_name: "fake",
    precision: "fp32",
    batch,
    inputs: [spec("inputs", "int32", [batch, 4])],
    carry: [
      carried("steps", "int32", [batch], 0),
      carried("halted", halted, [batch], halted === "bool" ? true : 1),
      carried("current_inputs", "int32", [batch, 4], 0),
      carried("z", "float32", [batch, 2], 0),
    ],
    outputs: [
      spec("logits", "float32", [batch, 4, 8]),
      spec("q_halt_logits", "float32", [batch]),
      spec("q_continue_logits", "float32", [batch]),
    ],
    halt: { kind: "q_halt", threshold: 0 },
    max_steps: 6,
    made_by: { tool: "test", versions: {}, weights_sha256: "", config_digest: "" },
    granularity: "step",
    passes: 1,
    alphabet: ["", ".0", "1", "2", "3", "4", "5", "6"],
    num_puzzle_identifiers: null,
    ...more,
  };
}

/** A puzzle [n, a, b, c] halts at step n, with n + (steps so far) in the first cell of its answer.
 *
 * A stale carry spoils what follows: the fake, as a graph, only drops it where `halted` is set. A
 * puzzle that begins with 7 gives NaN at step 2. `calls` has the rows and puzzles of every call. */
export function fakeRunner(contract) {
  const calls = [];
  const call = async ({ inputs }, carry) => {
    const rows = inputs.shape[0];
    calls.push(Array.from({ length: rows }, (_, row) => inputs.data[4 * row + 1]));
    const make = (dtype, shape) => ({
      dtype,
      shape: [rows, ...shape],
      data: new { float32: Float32Array, int32: Int32Array, bool: Uint8Array }[dtype](
        rows * shape.reduce((a, b) => a * b, 1),
      ),
    });
    const halted = contract.carry.find(({ name }) => name === "halted").dtype;
    const next = {
      steps: make("int32", []),
      halted: make(halted, []),
      current_inputs: make("int32", [4]),
      z: make("float32", [2]),
    };
    const outputs = {
      logits: make("float32", [4, 8]),
      q_halt_logits: make("float32", []),
      q_continue_logits: make("float32", []),
    };
    for (let row = 0; row < rows; row++) {
      const fresh = carry.halted.data[row];
      const board = (fresh ? inputs : carry.current_inputs).data.slice(4 * row, 4 * row + 4);
      const steps = (fresh ? 0 : carry.steps.data[row]) + 1;
      const bad = (board[0] === 7 && steps === 2) || Number.isNaN(carry.z.data[2 * row]);
      next.steps.data[row] = steps;
      next.current_inputs.data.set(board, 4 * row);
      next.z.data.fill(bad ? NaN : steps, 2 * row, 2 * row + 2);
      next.halted.data[row] = Number(steps >= board[0]);
      outputs.q_halt_logits.data[row] = steps >= board[0] ? 1 : -1;
      board.forEach((id, cell) => (outputs.logits.data[32 * row + 8 * cell + ((id + steps) % 8)] = 1));
    }
    return { outputs, carry: next };
  };
  return { contract, engine: "fake 1", call, calls };
}

/** Puzzles as a tensor. */
export function boards(...rows) {
  return { inputs: { dtype: "int32", shape: [rows.length, 4], data: Int32Array.from(rows.flat()) } };
}
