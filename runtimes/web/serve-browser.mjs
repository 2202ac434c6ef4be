#!/usr/bin/env node
// A step server in a browser, over onnxruntime-web or LiteRT.js:
//
//   node serve-browser.mjs MODEL --browser chromium [--accelerator wasm|webgpu] [--threads N]
//   node serve-browser.mjs MODEL --port N --key WORD [--host 127.0.0.1] [--accelerator ...] [--threads N]
//
// The first starts that Chromium without a window, and with a GPU in software. The second waits until any
// browser opens http://localhost:N/WORD/; the key keeps other pages out.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";

import { needed, pageFiles, printed, typeOf } from "./browser/files.mjs";
import { TrmError } from "./src/errors.js";
import { formatOf } from "./src/file.js";
import { messages, refusal } from "./src/step_server.js";
import meta from "./package.json" with { type: "json" };

const USAGE =
  "Usage: node serve-browser.mjs MODEL (--browser COMMAND | --port N --key WORD) [--host H] [--threads N] " +
  "[--accelerator wasm|webgpu]";
const GPU = {
  wasm: ["--disable-gpu"],
  webgpu: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"], // the same on every machine
};
const OPTIONS = {
  browser: { type: "string" },
  accelerator: { type: "string", default: "wasm" },
  threads: { type: "string", default: "1" },
  host: { type: "string", default: "127.0.0.1" },
  port: { type: "string", default: "0" },
  key: { type: "string", default: randomBytes(9).toString("base64url") },
};
const PAGE = `<!doctype html><meta charset="utf-8"><title>Step server</title><body>
<script type="module" src="browser/bridge.js"></script>`;
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin", // both for threads
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-store",
};

async function write(bytes) {
  if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
}

function options() {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: OPTIONS });
    const { threads, port, accelerator } = values;
    if (positionals.length !== 1) throw new Error("Expected one model.");
    if (!/^[1-9]\d*$/.test(threads)) throw new Error(`--threads: expected 1 or more, got ${threads}.`);
    if (!/^\d{1,5}$/.test(port) || port > 65535) throw new Error(`--port: expected 0 to 65535, got ${port}.`);
    if (!Object.hasOwn(GPU, accelerator)) {
      throw new Error(`--accelerator: expected ${Object.keys(GPU).join(" or ")}, got ${accelerator}.`);
    }
    return { ...values, model: positionals[0] };
  } catch (error) {
    throw new TrmError(`${error.message} ${USAGE}`, 2);
  }
}

function read(model) {
  try {
    return readFileSync(model);
  } catch (error) {
    throw new TrmError(`${model}: cannot be read: ${error.message}`);
  }
}

/** Ends with the exit code of the bridge: 0, or that of what went wrong in it. */
function bridge({ model, threads, accelerator, host, port, key, browser }) {
  const bytes = read(model);
  needed(formatOf(bytes));
  const { promise, resolve, reject } = Promise.withResolvers?.() ?? resolvers();
  const driver = `${meta.name} ${meta.version}`;
  const setup = JSON.stringify({ model: basename(model), threads: Number(threads), accelerator, driver });
  const files = pageFiles(accelerator).set("setup.json", () => setup).set("model", () => bytes);
  const requests = messages(process.stdin);
  const posts = {
    async next(response) {
      const { value, done } = await requests.next();
      response.writeHead(done ? 204 : 200).end(done ? "" : Buffer.concat([value.line, value.data]));
      if (done) response.on("close", () => resolve(0));
    },
    async reply(response, body) {
      await write(body);
      response.end();
    },
    async failed(response, body) {
      await write(body);
      response.end();
      resolve(JSON.parse(body.subarray(0, body.indexOf(10))).exit_code);
    },
  };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const [, given, ...rest] = pathname.split("/");
    const path = rest.join("/");
    try {
      for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
      if (given !== key || !rest.length) return response.writeHead(404).end();
      if (request.method === "POST") {
        return await posts[path]?.(response, Buffer.concat(await request.toArray()));
      }
      response.setHeader("Content-Type", path ? typeOf(path) : "text/html");
      if (path === "") return response.end(PAGE);
      return files.has(path) ? response.end(files.get(path)()) : response.writeHead(404).end();
    } catch (error) {
      return reject(error);
    }
  });
  Object.assign(server, { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
  server.on("error", reject).listen(Number(port), host, () => {
    const address = `http://${host}:${server.address().port}/${key}/`;
    if (browser) start(browser, GPU[accelerator], address, reject);
    else console.error(`Open ${address} in the browser to be judged.`);
  });
  return promise;
}

function start(browser, gpu, address, reject) {
  const profile = mkdtempSync(join(tmpdir(), "trm-browser-"));
  const flags = ["--headless=new", ...gpu, "--disable-dev-shm-usage", "--no-first-run"];
  if (process.getuid?.() === 0) flags.push("--no-sandbox"); // Chromium refuses root with it
  flags.push(`--user-data-dir=${profile}`, address);
  const child = spawn(browser, flags, { stdio: "ignore" });
  child.on("error", (error) => reject(new TrmError(`${browser} cannot be started: ${error.message}`, 3)));
  child.on("exit", (code, signal) => reject(new TrmError(`${browser} ended with ${signal ?? `exit code ${code}`}.`)));
  closing.push(async () => {
    const ended = child.pid && child.exitCode === null && child.signalCode === null && once(child, "exit");
    child.kill();
    await ended;
    await remove(profile);
  });
}

/** Again and again: processes of the browser outlive it and write. rmSync's own retries would not empty it. */
async function remove(profile) {
  for (const deadline = Date.now() + 10_000; ; await setTimeout(100)) {
    try {
      return rmSync(profile, { recursive: true, force: true });
    } catch (error) {
      if (Date.now() > deadline) return console.error(`The profile of the browser stays: ${error.message}`);
    }
  }
}

function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

printed(USAGE);
const closing = []; // what ends with this program
let code;
try {
  code = await bridge(options());
} catch (error) {
  code = error instanceof TrmError ? error.exitCode : 1;
  await write(refusal(error));
}
await Promise.all(closing.map((close) => close()));
process.exit(code);
