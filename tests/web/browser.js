// Runs a browser for `tests/it/browser.rs`: a JSON call a line in, a JSON answer a line out. Each
// call is a function of page.js. The browser is closed when standard input ends.

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, ...flags] = process.argv.slice(2);

function say(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function answer(page, { call, argument }) {
  try {
    const value = await page.evaluate(([call, argument]) => peer[call](argument), [call, argument]);
    return { value: value ?? null };
  } catch (error) {
    return { error: error.message };
  }
}

const browser = await chromium.launch({
  executablePath,
  // Chromium's sandbox does not start as root.
  chromiumSandbox: process.getuid() !== 0,
  // Headless, without sync, updates or traffic of its own, with a new profile in $TMPDIR: all of
  // that playwright sees to itself.
  args: ["--disable-gpu", "--disable-quic", ...flags],
});
const page = await browser.newPage();
await page.addScriptTag({ path: fileURLToPath(new URL("page.js", import.meta.url)) });
say({ value: browser.version() });

const calls = createInterface({ input: process.stdin });
calls.on("close", () => browser.close());
for await (const line of calls) {
  say(await answer(page, JSON.parse(line)));
}
