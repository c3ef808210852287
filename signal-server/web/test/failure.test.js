/** What is thrown is called what it is: the disk's fault is said where files are written, and nowhere else. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Failure, failureOf } from "../src/net/failure.js";
import { Refused } from "../src/proto/wire.js";
import { FolderStore, fileOutput } from "../src/store/folder.js";
import { explain } from "../src/ui/words.js";

const FULL = new DOMException("no room is left", "QuotaExceededError");

const refuses = async () => {
  throw FULL;
};

/** @param {Promise<unknown>} promise */
const failureIn = (promise) => promise.then(() => assert.fail("it went well"), failureOf);

/** A file and a folder of the browser's in one, which refuses something. */
function handle(broken) {
  const writable = { write: async () => {}, close: async () => {}, ...broken };
  const own = async () => it;
  const it = { createWritable: async () => writable, getFileHandle: own, getDirectoryHandle: own, ...broken };
  return it;
}

test("what nobody has foreseen is the page's own mistake, and is told with its text", () => {
  const failure = failureOf(new TypeError("x is not a function"));
  assert.equal(failure.kind, "page");
  assert.match(explain(failure).join(" "), /in this page.*TypeError: x is not a function/);
  assert.equal(failureOf(new DOMException("the connection is closed", "InvalidStateError")).kind, "page");
});

test("what is known stays what it is", () => {
  const known = new Failure("path-lost");
  assert.equal(failureOf(known), known);
  assert.equal(failureOf(new Refused("not-bound")).kind, "tampered");
  assert.equal(failureOf(new Refused("name-empty")).kind, "unsafe-name");
  assert.equal(failureOf(new Refused("truncated")).kind, "protocol");
});

const CHOSEN = {
  createWritable: async (file) => fileOutput(file),
  write: async (file) => (await fileOutput(file)).write(Uint8Array.of(1)),
  close: async (file) => (await fileOutput(file)).close(),
};

for (const [what, act] of Object.entries(CHOSEN)) {
  test(`a chosen file that refuses ${what} is a failure of the disk`, async () => {
    const failure = await failureIn(act(handle({ [what]: refuses })));
    assert.deepEqual([failure.kind, failure.detail], ["disk", String(FULL)]);
    assert.match(explain(failure).join(" "), /could not be written.*no room is left/);
  });
}

const ENTRIES = [
  { kind: "directory", path: ["f"], size: 0, modified: null, executable: false },
  { kind: "file", path: ["f", "a"], size: 1, modified: null, executable: false },
];

for (const what of ["getDirectoryHandle", "getFileHandle", "createWritable", "write", "close"]) {
  test(`a folder that refuses ${what} is a failure of the disk`, async () => {
    const store = new FolderStore(ENTRIES, handle({ [what]: refuses }), new Map([["f", "f"]]));
    const failure = await failureIn(store.write(1, 0, Uint8Array.of(1)).then(() => store.finish(1)));
    assert.deepEqual([failure.kind, failure.detail], ["disk", String(FULL)]);
  });
}
