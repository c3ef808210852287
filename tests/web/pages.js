// Opens the real page for `tests/it/page.rs`: a JSON call a line in, a JSON answer a line out. Each
// call names the tab that it is for. What a person cannot do with a headless browser, picking where
// to save, is answered with the browser's own private folder; all else goes through what a person
// would click.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, ...flags] = process.argv.slice(2);
const screenshots = fileURLToPath(new URL("screenshots/", import.meta.url));

const VIEWS = [
  { width: 360, height: 740 },
  { width: 1280, height: 800 },
];

function say(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const options = {
  executablePath,
  // Chromium's sandbox does not start as root.
  chromiumSandbox: process.getuid() !== 0,
  args: ["--disable-gpu", "--disable-quic", ...flags],
};
const browser = await chromium.launch(options);

const tabs = new Map();

/** Over plain HTTP a browser passes over one of the page's headers, and says so. */
const isProblem = (message) =>
  message.type() === "error" && !message.text().startsWith("The Cross-Origin-Opener-Policy header has been ignored");

/** A profile on the disk, which is another browser. */
async function profile() {
  const context = await chromium.launchPersistentContext(await mkdtemp(join(tmpdir(), "profile-")), { ...options, acceptDownloads: true });
  lines.on("close", () => context.close());
  return context;
}

/** A tab in a profile of its own, and all that goes wrong in it. */
async function open({ tab, url, timezone, profile: onDisk }) {
  const context = onDisk ? await profile() : await browser.newContext({ acceptDownloads: true, timezoneId: timezone });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => isProblem(message) && problems.push(message.text()));
  page.on("dialog", (dialog) => dialog.accept());
  page.setDefaultTimeout(110_000);
  tabs.set(tab, { page, problems, download: undefined });
  await page.addInitScript(rememberConnections);
  await page.goto(url);
}

/** Runs in the page: what cuts its path, which no browser offers, and how the path was whenever a socket was opened. */
function rememberConnections() {
  const made = [];
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...options) {
      super(...options);
      window.sockets.push(made.at(-1)?.connectionState);
    }
  };
  window.RTCPeerConnection = class extends RTCPeerConnection {
    channels = [];

    constructor(...options) {
      super(...options);
      made.push(this);
      this.addEventListener("datachannel", ({ channel }) => this.channels.push(channel));
    }

    createDataChannel(...options) {
      const channel = super.createDataChannel(...options);
      this.channels.push(channel);
      return channel;
    }
  };
  /** All lanes go with it. The other end sees it as it is. */
  window.cutThePath = () => {
    for (const connection of made) {
      connection.close();
      for (const channel of connection.channels) channel.dispatchEvent(new Event("close"));
    }
  };
}

/** The address may differ from that of the page in its fragment alone, which would load nothing. */
async function anew(page, url) {
  await page.evaluate((url) => history.replaceState(null, "", url), url);
  await page.reload();
}

/** Waits until a screen is there; another that ends the transfer is an error at once. */
async function state(page, wanted) {
  const reached = await page.waitForFunction(
    (wanted) => {
      const { state, failure } = document.body.dataset;
      if (state === wanted) return "there";
      return state === "failed" ? `failed: ${failure}: ${document.querySelector("main").innerText}` : false;
    },
    wanted,
    { polling: 20 },
  ).catch(async ({ message }) => {
    throw new Error(`${message} ${await page.evaluate(() => `${document.body.dataset.state}: ${document.querySelector("main").innerText}`)}`);
  });
  const value = await reached.jsonValue();
  if (value !== "there") throw new Error(value);
}

async function shoot(page, name) {
  await mkdir(screenshots, { recursive: true });
  const before = page.viewportSize();
  for (const size of VIEWS) {
    await page.setViewportSize(size);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const path = `${screenshots}${name}-${size.width}x${size.height}-${colorScheme}.png`;
      await page.screenshot({ path });
    }
  }
  await page.setViewportSize(before);
}

/** The processes of tabs that came from this one. */
function renderers() {
  const parents = new Map();
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(id, readFileSync(`/proc/${id}/stat`, "utf8").split(") ").at(-1).split(" ")[1]);
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (id) => id === String(process.pid) || (parents.has(id) && isOurs(parents.get(id)));
  return [...parents.keys()].filter((id) => isOurs(id) && fileOf(id, "cmdline").includes("--type=renderer"));
}

function fileOf(id, name) {
  try {
    return readFileSync(`/proc/${id}/${name}`, "utf8");
  } catch {
    return "";
  }
}

async function digestOf(path) {
  const [hash, stream] = [createHash("sha256"), createReadStream(path)];
  let size = 0;
  for await (const bytes of stream) {
    hash.update(bytes);
    size += bytes.length;
  }
  return { size, sha256: hash.digest("hex") };
}

/** How fast two pages are with nothing but a data channel between them, in MB/s: page.js at both ends. */
async function bare(count) {
  const ends = await Promise.all([browser.newPage(), browser.newPage()]);
  const [offerer, answerer] = ends;
  const call = (page, name, argument) => page.evaluate(([name, argument]) => peer[name](argument), [name, argument]);
  for (const page of ends) await page.addScriptTag({ path: fileURLToPath(new URL("page.js", import.meta.url)) });
  await call(offerer, "accept", await call(answerer, "answer", await call(offerer, "offer")));
  for (const [from, to] of [ends, [answerer, offerer]]) {
    for (let candidate; (candidate = await call(from, "candidate")); ) await call(to, "addCandidate", candidate);
  }
  await Promise.all(ends.map((page) => call(page, "opened")));
  const start = performance.now();
  const stream = { lane: 1, stream: 7, count };
  await Promise.all([call(offerer, "send", stream), call(answerer, "receive", stream)]);
  const rate = (count * 65.536) / (performance.now() - start);
  await Promise.all(ends.map((page) => page.close()));
  return Math.round(rate);
}

const calls = {
  bare: (_, count) => bare(count),
  goto: ({ page }, url) => page.goto(url).then(() => null),
  /** Loads the page anew, with what it asks before it is left answered; at another address when there is one. */
  reload: ({ page }, url) => (url ? anew(page, url) : page.reload()).then(() => null),
  state: ({ page }, wanted) => state(page, wanted),
  /** Waits until a screen is there that comes after a failure. */
  screen: ({ page }, wanted) => page.waitForSelector(`body[data-state=${wanted}]`).then(() => null),
  click: ({ page }, selector) => page.click(selector),
  type: ({ page }, { into, text }) => page.fill(into, text),
  press: ({ page }, key) => page.keyboard.press(key),
  text: ({ page }, selector) => page.textContent(selector),
  texts: ({ page }, selector) => page.locator(selector).allTextContents(),
  count: ({ page }, selector) => page.locator(selector).count(),
  failure: async ({ page }) => {
    await page.waitForSelector("body[data-state=failed]");
    return page.evaluate(() => document.body.dataset.failure);
  },
  problems: ({ problems }) => problems,

  /** Waits until so much of a transfer is here, from 0 to 1. */
  progress: async ({ page }, share) => {
    const ended = await page.waitForFunction(
      (share) => {
        if (["failed", "done", "home"].includes(document.body.dataset.state)) return "over";
        return document.querySelector("#progress")?.value >= share && "there";
      },
      share,
      { polling: 20 },
    );
    if ((await ended.jsonValue()) !== "there") throw new Error("the transfer is not under way");
  },

  /** The most that any renderer has held, in bytes. */
  peakMemory: () => Math.max(...renderers().map((id) => 1024 * (/VmHWM:\s*(\d+)/.exec(fileOf(id, "status"))?.[1] ?? 0))),

  /** Whatever is stored for the page's origin: names of files and databases. */
  stored: ({ page }) =>
    page.evaluate(async () => {
      const names = (await indexedDB.databases()).map(({ name }) => name);
      for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
      return [...names, ...Object.keys(localStorage), ...(await caches.keys())];
    }),

  evaluate: ({ page }, script) => page.evaluate(script),
  shoot: ({ page }, name) => shoot(page, name),
  close: ({ page }) => page.context().close(),

  /** Clicks what opens a picker, and picks. */
  async pick({ page }, { button, paths }) {
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click(button)]);
    await chooser.setFiles(paths);
  },

  /** Clicks what opens another tab, and says what that shows. */
  async opens({ page }, selector) {
    const [opened] = await Promise.all([page.context().waitForEvent("page"), page.click(selector)]);
    await opened.waitForLoadState();
    return opened.evaluate(() => ({ type: document.contentType }));
  },

  /** Clicks what begins a download, which is then under way. */
  async download(tab, button) {
    const begun = tab.page.waitForEvent("download").then(
      (download) => ({ download }),
      async (error) => ({ error: `${error.message}: ${await tab.page.innerText("main")}` }),
    );
    await tab.page.click(button);
    const { download, error } = await begun;
    if (!download) throw new Error(error);
    tab.download = download;
    return download.suggestedFilename();
  },

  /** Waits until the download is whole. */
  async downloaded({ download }) {
    const path = await download.path();
    return { path, ...(await digestOf(path)) };
  },

  /** Waits until the download has ended, and says why it is not whole. */
  downloadFailure: ({ download }) => download.failure(),

  /** Answers pickers of this page with the browser's private folder. */
  usePrivateFolder: ({ page }) =>
    page.evaluate(() => {
      const root = () => navigator.storage.getDirectory();
      window.showDirectoryPicker = root;
      window.showSaveFilePicker = async ({ suggestedName }) => (await root()).getFileHandle(suggestedName, { create: true });
    }),

  /** What is in the private folder: paths, with size and SHA-256; folders have none. */
  privateFiles: ({ page }) =>
    page.evaluate(async () => {
      const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
      const found = {};
      async function walk(folder, path) {
        for await (const [name, handle] of folder.entries()) {
          const inner = [...path, name];
          if (handle.kind === "directory") {
            found[`${inner.join("/")}/`] = null;
            await walk(handle, inner);
          } else {
            const file = await handle.getFile();
            found[inner.join("/")] = hex(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
          }
        }
      }
      await walk(await navigator.storage.getDirectory(), []);
      return found;
    }),

  /** Puts the page in a frame of another origin, and says what the frame shows. */
  async framed({ page }, url) {
    await page.goto("about:blank");
    await page.setContent(`<iframe src="${url}"></iframe>`);
    const [, frame] = page.frames();
    await frame.waitForLoadState().catch(() => {});
    return frame.url();
  },
};

async function answer({ call, argument }) {
  try {
    const { tab, value } = argument;
    const made = call === "open" ? open({ tab, ...value }) : calls[call](tabs.get(tab), value);
    return { value: (await made) ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

const lines = createInterface({ input: process.stdin });
say({ value: browser.version() });
lines.on("close", () => browser.close());
for await (const line of lines) say(await answer(JSON.parse(line)));
