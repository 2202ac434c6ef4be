// The page: what a person chooses, the model that runs, and what is shown of it.

import { EngineError, openFile } from "../browser/engines.js";
import { readPuzzles, sizesOf, solve, textOf } from "../src/index.js";
import { Board } from "./board.js";
import { drawChart } from "./chart.js";
import { mazeProblem, pathProblem, SUDOKU, MAZE, sudokuProblem } from "./rules.js";

const PAUSE = 350; // ms at least from step to step, so that the eye can follow
const ENGINES = { onnx: "ONNX Runtime", tflite: "LiteRT.js" };
const PRECISIONS = { fp32: "float32", int8: "int8" };
const RELOAD = "The engine could not be loaded; reload the page.";
const $ = (id) => document.getElementById(id);

const tasks = await read("demo.json");
const downloads = await read("engines.json"); // bytes of each engine
const runners = new Map(); // file to the promise of its runner
const state = {
  task: tasks[0],
  engine: "onnx",
  precision: "fp32",
  puzzle: new Int32Array(0),
  example: -1,
  history: [], // of each step: answer, score and ms
  shown: 0, // the step on the board; 0: the puzzle alone
  run: null, // the run that has not ended: whether its model is `loaded`, and whether it is `stopped`
};
const board = new Board($("board"), $("palette"), edit);

const suffixOf = (file) => file.split(".").at(-1);
const fileNow = () =>
  state.task.files.find(
    ({ file, contract }) => suffixOf(file) === state.engine && contract.precision === state.precision,
  );
const contractNow = () => fileNow().contract;
const isMaze = () => state.task.name.startsWith("maze");
const sideNow = () => Math.sqrt(sizesOf(contractNow()).cells);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;

function say(text, kind = "") {
  $("status").textContent = text;
  $("status").className = `status ${kind}`;
}

function show(step) {
  state.shown = step;
  const { history, puzzle } = state;
  board.draw(puzzle, history[step - 1]?.answer, step > 1 ? history[step - 2].answer : puzzle);
  const { halt, max_steps: maxSteps } = contractNow();
  drawChart($("chart"), history.map(({ score }) => score), halt.threshold, maxSteps, step);
  $("step").max = $("step").value = String(history.length);
  $("step").value = String(step);
  $("step").disabled = !history.length || Boolean(state.run);
  $("shown").textContent = String(step);
  $("steps").textContent = history.length ? `${history.length} of ${maxSteps}` : "–";
  $("qhalt").textContent = step ? history[step - 1].score.toFixed(1) : "–";
  const times = history.map(({ ms }) => ms).sort((a, b) => a - b);
  $("time").textContent = times.length ? times[times.length >> 1].toFixed(1) : "–";
}

/** The bytes of a file of this page; says so if they do not come. */
async function bytesOf(file) {
  let answer;
  try {
    answer = await fetch(file);
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
  } catch {
    throw new Error(`${file} cannot be loaded: no connection?`);
  }
  throw new Error(`${file} cannot be loaded (${answer.status}).`);
}

async function read(file) {
  try {
    return JSON.parse(new TextDecoder().decode(await bytesOf(file)));
  } catch (error) {
    say(error.message, "bad");
    throw error;
  }
}

function setPuzzle(puzzle) {
  state.puzzle = puzzle;
  state.history = [];
  say("");
  show(0);
}

function edit(cell, id) {
  if (state.run) return;
  const puzzle = state.puzzle.slice();
  if (id === MAZE.start || id === MAZE.goal) {
    if (isMaze()) puzzle.forEach((other, i) => (puzzle[i] = other === id ? MAZE.open : other));
  }
  puzzle[cell] = id;
  setPuzzle(puzzle);
}

function example() {
  state.example = (state.example + 1) % state.task.examples.length;
  setPuzzle(readPuzzles(contractNow(), state.task.examples[state.example]).data);
}

function clear() {
  const side = sideNow();
  const edge = (cell) => [0, side - 1].some((end) => cell % side === end || Math.floor(cell / side) === end);
  const blank = (_, cell) => (isMaze() ? (edge(cell) ? MAZE.wall : MAZE.open) : SUDOKU.blank);
  setPuzzle(Int32Array.from({ length: side * side }, blank));
}

function paste() {
  try {
    const { data, shape } = readPuzzles(contractNow(), $("text").value);
    setPuzzle(data.slice(0, shape[1]));
    say(shape[0] > 1 ? `The first of ${shape[0]} puzzles is on the board.` : "The puzzle is on the board.");
  } catch (error) {
    say(error.message, "bad");
  }
}

async function runnerNow() {
  const { file } = fileNow();
  say(`Loading ${ENGINES[state.engine]} and the model …`);
  if (!runners.has(file)) runners.set(file, load(file, state.task.examples[0]));
  return runners.get(file).catch((error) => {
    runners.delete(file);
    throw error;
  });
}

async function load(file, example) {
  const runner = await openFile(file, await bytesOf(`models/${file}`));
  const inputs = readPuzzles(runner.contract, example);
  await solve(runner, { inputs }, { maxSteps: 1 }); // the first step of an engine is a slow one
  return runner;
}

async function run() {
  const problem = isMaze() ? mazeProblem([...state.puzzle], sideNow()) : "";
  if (problem) return say(problem, "bad");
  const own = { loaded: false, stopped: false };
  setRun(own);
  try {
    const runner = await runnerNow();
    if (state.run !== own) return undefined; // it was stopped meanwhile
    own.loaded = true;
    verdict(await steps(runner, own));
  } catch (error) {
    if (state.run === own) say(error instanceof EngineError ? RELOAD : error.message, "bad");
  } finally {
    if (state.run === own) setRun(null);
  }
  return undefined;
}

/** Shows each step of a run; resolves to why it ended. */
async function steps(runner, own) {
  say("Running …");
  state.history = [];
  show(0);
  const inputs = { dtype: "int32", shape: [1, state.puzzle.length], data: state.puzzle };
  let ms;
  const call = async (...given) => {
    const began = performance.now();
    const result = await runner.call(...given);
    ms = performance.now() - began;
    return result;
  };
  const onStep = async ({ answers, qHalt, finished }) => {
    state.history.push({ answer: answers[0], score: qHalt[0], ms });
    show(state.history.length);
    if (!finished[0]) await new Promise((done) => setTimeout(done, Math.max(0, PAUSE - ms)));
    return !own.stopped;
  };
  const found = await solve({ ...runner, call }, { inputs }, { onStep });
  return found.reasons[0];
}

/** Ends a run after its step; one whose model still loads, at once. */
function stop() {
  state.run.stopped = true;
  if (state.run.loaded) {
    $("solve").textContent = "Stopping …";
  } else {
    setRun(null);
    say("Stopped.");
  }
}

function verdict(reason) {
  const { history, puzzle } = state;
  const answer = [...history.at(-1).answer];
  const judge = isMaze() ? pathProblem : sudokuProblem;
  const problem = judge([...puzzle], answer, sideNow());
  const steps = history.length === 1 ? "1 step" : `${history.length} steps`;
  const why = {
    halted: `It stopped by itself after ${steps}`,
    max_steps: `It has taken all ${steps}`,
    cancelled: `You stopped it after ${steps}`,
  };
  const ended = why[reason] ?? `It ended after ${steps} (${reason})`;
  return problem ? say(`${ended}: ${problem}.`, "bad") : say(`${ended}: solved.`, "good");
}

function setRun(run) {
  state.run = run;
  $("solve").textContent = run ? "Stop" : "Solve";
  for (const button of document.querySelectorAll("#example, #clear, #paste, .tabs button, #palette button")) {
    button.disabled = Boolean(run);
  }
  $("step").disabled = Boolean(run) || !state.history.length;
}

/** Buttons of which one is chosen: a radio group with arrow keys. */
function choices(root, options, chosen, onChoice) {
  const buttons = Object.entries(options).map(([key, title]) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: title });
    button.setAttribute("role", "radio");
    button.dataset.key = key;
    button.addEventListener("click", () => choose(key));
    return button;
  });
  const choose = (key) => {
    for (const button of buttons) {
      button.setAttribute("aria-checked", String(button.dataset.key === key));
      button.tabIndex = button.dataset.key === key ? 0 : -1;
    }
    onChoice(key);
  };
  root.addEventListener("keydown", ({ key }) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
    if (!move) return;
    const next = buttons.at((buttons.indexOf(document.activeElement) + move) % buttons.length);
    next.focus();
    next.click();
  });
  root.replaceChildren(...buttons);
  choose(chosen);
}

function fileChosen() {
  const { bytes } = fileNow();
  $("bytes").textContent = megabytes(bytes);
  const engine = `${ENGINES[state.engine]} adds ${megabytes(downloads[state.engine])}, once.`;
  $("download").textContent = `The model has ${megabytes(bytes)}; ${engine}`;
  if (state.puzzle.length) setPuzzle(state.puzzle);
}

function taskChosen(name) {
  state.task = tasks.find((task) => task.name === name);
  const contract = contractNow();
  const side = sideNow();
  board.setTask({ side, signs: contract.alphabet.map((entry) => entry.slice(0, 1)), isMaze: isMaze() });
  $("keys").textContent = isMaze()
    ? "Draw on the board. On a keyboard: arrows, # wall, . open, S start, G goal."
    : `Choose a cell, then a digit. On a keyboard: arrows, 1 to ${side}, Backspace.`;
  $("format").textContent = isMaze()
    ? `${side} lines of ${side}: # wall, . open, S start, G goal.`
    : `${side * side} characters, or ${side} lines of ${side}: digits, with . or 0 for an empty cell.`;
  state.example = -1;
  example();
  $("text").value = textOf(contract, state.puzzle).match(new RegExp(`.{${side}}`, "g")).join("\n");
  fileChosen();
}

const titles = Object.fromEntries(tasks.map(({ name, title }) => [name, title]));
choices($("engines"), ENGINES, state.engine, (engine) => {
  state.engine = engine;
  fileChosen();
});
choices($("precisions"), PRECISIONS, state.precision, (precision) => {
  state.precision = precision;
  fileChosen();
});
choices($("tasks"), titles, state.task.name, taskChosen);
$("solve").addEventListener("click", () => (state.run ? stop() : run()));
$("example").addEventListener("click", example);
$("clear").addEventListener("click", clear);
$("paste").addEventListener("click", paste);
$("step").addEventListener("input", () => show(Number($("step").value)));
$("about").textContent = "Made with trm-export. The models run in WebAssembly on one thread of this device.";
setRun(null);
$("solve").disabled = false;
document.documentElement.dataset.ready = "true";
