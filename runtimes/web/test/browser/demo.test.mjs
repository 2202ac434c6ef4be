// The demo page in Chromium. TRM_DEMO is its folder, built with sudoku9 and maze11; TRM_CHROMIUM the
// browser. `make test-devices` runs this.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { chromium } from "playwright-core";

import { typeOf } from "../../browser/files.mjs";
import { SUDOKU, sudokuProblem } from "../../demo/rules.js";

const { TRM_DEMO: FOLDER, TRM_CHROMIUM: CHROMIUM } = process.env;
const PUZZLE = ".5.43..7..9.1.6.32326.78..1.1284.3.66...9.7.5..96172842.87619.39..58.1...75.2.4.8"; // has one solution
const SOLUTION = "851432679497156832326978541712845396684293715539617284248761953963584127175329468";
const MAZE = `
###########
#S........#
#.#######.#
#.#.....#.#
#.#.###.#.#
#.#.#G#.#.#
#.#.#.#.#.#
#.#.#...#.#
#.#.#####.#
#.#.......#
###########`.trim();

const [errors, foreign] = [[], []];
let server, browser, page, address;

before(async () => {
  server = createServer((request, response) => {
    const path = new URL(request.url, "http://localhost").pathname.slice(1) || "index.html";
    const file = join(FOLDER, path);
    if (!existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": typeOf(path) });
    return response.end(readFileSync(file));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  address = `http://127.0.0.1:${server.address().port}/`;
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  browser = await chromium.launch({ executablePath: CHROMIUM, args });
});

after(async () => {
  await browser?.close();
  server.close();
});

beforeEach(async () => {
  await page?.close();
  page = await open(1280, 860);
});

async function open(width, height, options = {}) {
  const made = await browser.newPage({ viewport: { width, height }, ...options });
  made.setDefaultTimeout(15_000);
  made.on("pageerror", (error) => errors.push(error.message));
  made.on("request", (request) => {
    const url = request.url();
    if (!/^(data|blob):/.test(url) && !url.startsWith(address)) foreign.push(url);
  });
  await made.goto(address);
  await made.waitForSelector("html[data-ready]");
  return made;
}

const cells = () => page.getByRole("gridcell").allTextContents();
const status = () => page.getByRole("status").textContent();
const radio = (name) => page.getByRole("radio", { name, exact: true });

async function paste(text) {
  await page.getByText("Paste a puzzle").click();
  await page.locator("#text").fill(text);
  await page.getByRole("button", { name: "Use it" }).click();
}

const press = () => page.locator("#solve").click();

/** Holds back what the page asks for; resolves to the function that lets it go on. */
async function held(pattern) {
  let free;
  const freed = new Promise((resolve) => (free = resolve));
  await page.route(pattern, (route) => freed.then(() => route.continue()));
  return free;
}

/** What a run says at its end, whatever it is. */
async function ended() {
  await page.waitForFunction(() => document.querySelector("#solve").textContent === "Solve", null, { timeout: 60_000 });
  return status();
}

async function solved() {
  await press();
  await page.waitForFunction(() => /: .*\.$/.test(document.querySelector("[role=status]").textContent), null, { timeout: 60_000 });
  return status();
}

for (const [engine, precision] of [
  ["ONNX Runtime", "float32"],
  ["ONNX Runtime", "int8"],
  ["LiteRT.js", "float32"],
  ["LiteRT.js", "int8"],
]) {
  test(`a Sudoku that is pasted gets the right answer: ${engine}, ${precision}`, async () => {
    await radio(engine).click();
    await radio(precision).click();
    await paste(PUZZLE);
    assert.match(await solved(), /^It stopped by itself after \d+ steps?: solved\.$/);
    assert.equal((await cells()).join(""), SOLUTION);
    assert.match(await page.locator("#steps").textContent(), /^\d+ of 16$/);
    assert.ok(Number(await page.locator("#time").textContent()) > 0);
    assert.ok(Number(await page.locator("#qhalt").textContent()) > 3);
  });
}

test("a Sudoku is entered with the keyboard, and each step can be shown again", async () => {
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("gridcell").first().focus();
  for (const [i, sign] of [...PUZZLE].entries()) {
    if (i && i % 9 === 0) {
      await page.keyboard.press("ArrowDown");
      for (let back = 0; back < 8; back++) await page.keyboard.press("ArrowLeft");
    } else if (i) await page.keyboard.press("ArrowRight");
    if (sign !== ".") await page.keyboard.press(sign);
  }
  assert.equal((await cells()).map((cell) => cell || ".").join(""), PUZZLE);
  assert.match(await page.getByRole("gridcell").nth(80).getAttribute("aria-label"), /^Row 9, column 9: 8, given$/);
  assert.match(await solved(), /solved/);
  await page.locator("#step").fill("0");
  assert.equal((await cells()).map((cell) => cell || ".").join(""), PUZZLE);
});

test("the keypad sets the chosen cell, and cells in conflict are marked", async () => {
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("gridcell").nth(40).click();
  await page.getByRole("button", { name: "5", exact: true }).click();
  await page.getByRole("gridcell").nth(41).click();
  await page.getByRole("button", { name: "5", exact: true }).click();
  assert.equal(await page.locator(".conflict").count(), 2);
  assert.equal(await page.getByRole("gridcell").nth(40).getAttribute("aria-label"), "Row 5, column 5: 5, given, in conflict");
  await page.getByRole("button", { name: "Empty the cell" }).click();
  assert.equal(await page.locator(".conflict").count(), 0);
});

test("a maze that is drawn gets a shortest path", async () => {
  await radio("Maze 11x11").click();
  await page.getByRole("button", { name: "Clear" }).click();
  const names = { "#": "Wall", S: "Start", G: "Goal" };
  const signs = [...MAZE.replaceAll("\n", "")];
  for (const [sign, name] of Object.entries(names)) {
    await page.getByRole("button", { name, exact: true }).click();
    for (const [i, other] of signs.entries()) {
      const edge = i % 11 === 0 || i % 11 === 10 || i < 11 || i >= 110;
      if (other === sign && !edge) await page.getByRole("gridcell").nth(i).click();
    }
  }
  assert.match(await solved(), /: solved\.$/);
  assert.equal(await page.locator(".path").count(), 39);
});

test("an example maze gets a shortest path, and one without a goal is not begun", async () => {
  await radio("Maze 11x11").click();
  assert.match(await solved(), /: solved\.$/);
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("button", { name: "Solve" }).click();
  assert.match(await status(), /needs one start and one goal/);
});

test("a bad paste says what is wrong", async () => {
  await paste("123");
  assert.match(await status(), /^Line 1: expected 81 cells/);
});

test("of two puzzles in a paste, the first is taken, and that is said", async () => {
  await paste(`${PUZZLE}\n${SOLUTION}`);
  assert.equal(await status(), "The first of 2 puzzles is on the board.");
  assert.equal((await cells()).map((cell) => cell || ".").join(""), PUZZLE);
});

test("one cell is not called cells", () => {
  const [solution, blank] = [Array(81).fill(SUDOKU.first), [SUDOKU.blank, ...Array(80).fill(SUDOKU.first)]];
  assert.equal(sudokuProblem([SUDOKU.first + 1, ...blank.slice(1)], solution, 9), "1 given cell was changed");
  assert.equal(sudokuProblem(blank, blank, 9), "1 cell is empty");
  assert.equal(sudokuProblem(solution, blank.with(1, SUDOKU.blank), 9), "2 given cells were changed");
});

test("a run that is stopped ends before another one or an edit", async () => {
  const first = await solved();
  const label = page.evaluate(() => {
    const [shown, button] = ["#shown", "#solve"].map((name) => document.querySelector(name));
    const stopped = (resolve) => {
      button.click();
      button.click();
      const seven = new KeyboardEvent("keydown", { key: "7", bubbles: true });
      document.querySelector("[role=gridcell]").dispatchEvent(seven);
      resolve(button.textContent);
    };
    return new Promise((resolve) => {
      const observer = new MutationObserver(() => {
        if (shown.textContent !== "1") return;
        observer.disconnect();
        stopped(resolve);
      });
      observer.observe(shown, { childList: true, characterData: true, subtree: true });
    });
  });
  await press();
  assert.equal(await label, "Stopping …");
  const [, steps] = (await ended()).match(/^You stopped it after (\d+) steps?: .* cells? .*\.$/);
  assert.equal(await page.locator("#steps").textContent(), `${steps} of 16`);
  assert.equal(await solved(), first);
});

test("Stop while the model loads ends the run at once", async () => {
  const free = await held("**/models/*");
  await press();
  await press();
  assert.deepEqual([await status(), await page.locator("#solve").textContent()], ["Stopped.", "Solve"]);
  await radio("Sudoku 9x9").click();
  await press();
  assert.equal(await status(), "Loading ONNX Runtime and the model …");
  await press();
  free();
  await page.waitForTimeout(3000);
  assert.deepEqual([await status(), await page.locator("#steps").textContent()], ["Stopped.", "–"]);
  assert.match(await solved(), /solved/);
});

test("a run after one that was stopped while the model loads is the only one", async () => {
  const free = await held("**/models/*");
  await press();
  await press();
  await press();
  free();
  const first = await ended();
  assert.match(first, /: solved\.$/);
  assert.equal(await solved(), first);
});

for (const [engine, file] of [
  ["ONNX Runtime", "ort.wasm.min.mjs"],
  ["ONNX Runtime", "ort-wasm-simd-threaded.wasm"],
  ["LiteRT.js", "litert/index.js"],
  ["LiteRT.js", "litert_wasm_internal.wasm"],
  ["LiteRT.js", "litert/package.json"],
]) {
  test(`an engine that does not load is told, and can be tried again: ${file}`, async () => {
    await page.route(`**/${file}`, (route) => route.abort());
    await radio(engine).click();
    await press();
    assert.equal(await ended(), "The engine could not be loaded; reload the page.");
    await page.unroute(`**/${file}`);
    if (engine === "ONNX Runtime") await page.reload();
    await radio(engine).click();
    assert.match(await solved(), /solved/);
  });
}

test("a model that does not come is named, and can be tried again", async () => {
  await page.route("**/models/*", (route) => route.abort());
  await press();
  assert.equal(await ended(), "models/sudoku9-fp32.onnx cannot be loaded: no connection?");
  await page.unroute("**/models/*");
  assert.match(await solved(), /solved/);
});

for (const [file, told] of [
  ["demo.json", "demo.json cannot be loaded (404)."],
  ["engines.json", "engines.json cannot be loaded (404)."],
  ["demo/board.js", "Loading … If this stays, open the page through a web server."],
]) {
  test(`a page without ${file} says why it does nothing`, async () => {
    page = await browser.newPage();
    await page.route(`**/${file}`, (route) => route.fulfill({ status: 404 }));
    await page.goto(address);
    await page.getByText(told, { exact: true }).waitFor();
    assert.ok(await page.getByRole("button", { name: "Solve" }).isDisabled());
  });
}

test("in forced colours, walls, path and choices differ from what is around them", async () => {
  page = await open(1280, 860, { forcedColors: "active" });
  await radio("Maze 11x11").click();
  await solved();
  const found = await page.evaluate(() => {
    const style = (selector, part) => getComputedStyle(document.querySelector(selector), part);
    return {
      wall: style(".wall").backgroundColor,
      paper: style("#board").backgroundColor,
      dot: style(".path", "::after").borderTopStyle,
      chosen: style("[role=radio][aria-checked=true]").backgroundColor,
      brush: style("#palette [aria-pressed=true]").backgroundColor,
    };
  });
  assert.notEqual(found.wall, found.paper);
  assert.equal(found.dot, "solid");
  assert.notEqual(found.chosen, found.paper);
  assert.equal(found.brush, found.chosen);
});

test("choices can be made with arrow keys", async () => {
  await radio("ONNX Runtime").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await radio("LiteRT.js").getAttribute("aria-checked"), "true");
  await page.keyboard.press("ArrowRight");
  assert.equal(await radio("ONNX Runtime").getAttribute("aria-checked"), "true");
});

for (const [name, width, options] of [
  ["a phone", 390, { hasTouch: true, isMobile: true }],
  ["a small phone", 320, { hasTouch: true, isMobile: true }],
  ["a screen", 1280, {}],
  ["a dark screen", 1280, { colorScheme: "dark" }],
]) {
  test(`nothing is cut off, and everything has a name: ${name}`, async () => {
    page = await open(width, 844, options);
    await radio("LiteRT.js").click();
    await radio("int8").click();
    assert.match(await solved(), /solved|cells/);
    const outside = await page.evaluate(() =>
      [...document.querySelectorAll("body *:not(option)")]
        .filter((node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth && !node.closest("svg, textarea, [role=gridcell]"))
        .filter((node) => getComputedStyle(node).display !== "inline")
        .map((node) => `${node.tagName} ${node.id} ${node.textContent.slice(0, 30)}`),
    );
    assert.deepEqual(outside, []);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, textarea, [role=gridcell], svg[role=img]")]
        .filter((node) => !(node.ariaLabel || node.textContent.trim() || node.labels?.length))
        .map((node) => node.outerHTML.slice(0, 80)),
    );
    assert.deepEqual(nameless, []);
  });
}

test("no page raised an error or asked another server", () => {
  assert.deepEqual([errors, foreign], [[], []]);
});
