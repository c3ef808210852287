// Opens the real page in Firefox for `tests/it/page/firefox.rs`, over WebDriver BiDi, which needs no
// driver: a JSON call a line in, a JSON answer a line out, as those of `pages.js`. There is one tab.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [executable, ...flags] = process.argv.slice(2);

const preferences = {
  "browser.download.folderList": 2,
  "browser.download.dir": mkdtempSync(join(tmpdir(), "downloads-")),
  "datareporting.policy.dataSubmissionEnabled": false,
};

/** A profile of its own. */
function profile() {
  const folder = mkdtempSync(join(tmpdir(), "profile-"));
  const lines = Object.entries(preferences).map((entry) => `user_pref(${entry.map((part) => JSON.stringify(part)).join(", ")});`);
  writeFileSync(join(folder, "user.js"), lines.join("\n"));
  return folder;
}

const options = ["--headless", "--no-remote", "--profile", profile(), "--remote-debugging-port", "0", ...flags];
const firefox = spawn(executable, options, { stdio: ["ignore", "ignore", "pipe"] });
const ended = new Promise((resolve) => firefox.on("exit", resolve));

/** Where it says that it listens. */
const address = await new Promise((resolve, reject) => {
  ended.then(() => reject(new Error("Firefox has ended")));
  createInterface({ input: firefox.stderr }).on("line", (line) => {
    const [, found] = /WebDriver BiDi listening on (ws:\S+)/.exec(line) ?? [];
    if (found) resolve(found);
  });
});

const socket = new WebSocket(`${address}/session`);
await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));

const [waiting, problems] = [[], []];
const happened = new EventTarget();
socket.onmessage = ({ data }) => {
  const { id, type, method, params, result, message } = JSON.parse(data);
  if (type === "event") happened.dispatchEvent(Object.assign(new Event(method), { params }));
  else if (type === "success") waiting[id].resolve(result);
  else waiting[id].reject(new Error(message));
};
happened.addEventListener("log.entryAdded", ({ params: { level, text } }) => level === "error" && problems.push(text));

function command(method, params) {
  return new Promise((resolve, reject) => {
    const id = waiting.push({ resolve, reject }) - 1;
    socket.send(JSON.stringify({ id, method, params }));
  });
}

/** What comes with the next event of a name. */
const event = (name) => new Promise((resolve) => happened.addEventListener(name, ({ params }) => resolve(params), { once: true }));

const { capabilities } = await command("session.new", {
  capabilities: { alwaysMatch: { unhandledPromptBehavior: { file: "ignore", default: "accept" } } },
});
await command("session.subscribe", { events: ["log.entryAdded", "browsingContext.downloadEnd", "input.fileDialogOpened"] });
const [{ context }] = (await command("browsingContext.getTree", {})).contexts;

async function evaluate(expression) {
  const how = { target: { context }, awaitPromise: true, userActivation: true };
  const { type, result, exceptionDetails } = await command("script.evaluate", { expression, ...how });
  if (type !== "success") throw new Error(exceptionDetails.text);
  return result.value;
}

const click = (selector) => evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);

/** Waits until a screen is there; another that ends the transfer is an error at once. */
async function state(wanted) {
  const reached = await evaluate(`new Promise((resolve) => {
    const look = setInterval(() => {
      const { state } = document.body.dataset;
      if (state !== ${JSON.stringify(wanted)} && state !== "failed") return;
      clearInterval(look);
      resolve(state === "failed" ? document.querySelector("main").innerText : "");
    }, 20);
  })`);
  if (reached) throw new Error(reached);
}

let download;

const calls = {
  open: ({ url }) => command("browsingContext.navigate", { context, url, wait: "complete" }).then(() => null),
  state,
  click,
  text: (selector) => evaluate(`document.querySelector(${JSON.stringify(selector)}).textContent`),
  problems: () => problems,

  /** Clicks what opens a picker, and picks. */
  async pick({ button, paths }) {
    const [{ element }] = await Promise.all([event("input.fileDialogOpened"), click(button)]);
    await command("input.setFiles", { context, element, files: paths });
  },

  /** Clicks what begins a download. */
  download(button) {
    download = event("browsingContext.downloadEnd");
    return click(button);
  },

  /** Waits until the download is whole. */
  async downloaded() {
    const { status, filepath } = await download;
    if (status !== "complete") throw new Error(`the download is ${status}`);
    const bytes = readFileSync(filepath);
    return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  },
};

async function answer({ call, argument: { value } }) {
  try {
    return { value: (await calls[call](value)) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ value: capabilities.browserVersion });
for await (const line of createInterface({ input: process.stdin })) say(await answer(JSON.parse(line)));
await command("browser.close", {}).catch(() => {});
await ended;
