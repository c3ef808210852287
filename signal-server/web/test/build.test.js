/** What is committed is what the sources build to. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import { page, wordsModule } from "../build.js";

const here = new URL("../", import.meta.url);

test("the word list is that of src/proto/words.txt", async () => {
  assert.equal(await readFile(new URL("src/proto/words.js", here), "utf8"), await wordsModule());
});

test("dist is what the sources build to", async () => {
  const [built, committed] = [await page(), await readdir(new URL("dist/", here))];
  assert.deepEqual(committed.sort(), [...built.keys()].sort());
  for (const [name, contents] of built) {
    const there = await readFile(new URL(`dist/${name}`, here));
    assert(there.equals(contents), `${name} differs: npm run build`);
  }
});
