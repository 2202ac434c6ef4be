// A step server in a page: takes requests from serve-browser.mjs and sends it the replies.

import { hello, messages, refusal, replyTo } from "../src/step_server.js";
import { openFile } from "./engines.js";

const post = (path, body) => fetch(path, { method: "POST", body });
async function* once(bytes) {
  yield bytes;
}

async function serve() {
  const { model, threads, accelerator, driver } = await (await fetch("setup.json")).json();
  const bytes = new Uint8Array(await (await fetch("model")).arrayBuffer());
  const runner = await openFile(model, bytes, { threads, accelerator });
  const browser = navigator.userAgent.match(/\S+\/[\d.]+(?= Safari\/[\d.]+$|$)/)?.[0] ?? "a browser";
  await post("reply", hello(runner, `${driver}, ${browser}`));
  for (;;) {
    const answer = await fetch("next", { method: "POST" });
    if (answer.status !== 200) return "Done.";
    const { value } = await messages(once(new Uint8Array(await answer.arrayBuffer()))).next();
    await post("reply", await replyTo(runner, value));
  }
}

document.body.textContent = "Answering …";
try {
  document.body.textContent = await serve();
} catch (error) {
  document.body.textContent = error.message;
  await post("failed", refusal(error));
}
