/** The constants that the page's modules share are those of PROTOCOL.md. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as binding from "../src/proto/binding.js";
import * as code from "../src/proto/code.js";
import * as digest from "../src/proto/digest.js";
import * as frame from "../src/proto/frame.js";
import * as lanes from "../src/proto/lanes.js";
import * as rendezvous from "../src/proto/rendezvous.js";
import * as seal from "../src/proto/seal.js";
import * as signal from "../src/proto/signal.js";
import * as wire from "../src/proto/wire.js";
import { REASONS } from "../src/proto/reason.js";
import { WORDS } from "../src/proto/words.js";

const TEXT = readFileSync(new URL("../../../PROTOCOL.md", import.meta.url), "utf8");

test("constants", () => {
  const modules = Object.assign({}, binding, code, digest, frame, lanes, rendezvous, seal, signal, wire);
  const rows = [...TEXT.matchAll(/^\| ([A-Z][A-Z_]+) \| (\w+) \|/gm)].map(([, name, value]) => [name, Number(value)]);
  const shared = rows.filter(([name]) => name in modules);
  assert(shared.length >= 12, `${shared.length}`);
  for (const [name, value] of shared) assert.equal(modules[name], value, name);
  assert.equal(WORDS.length, Object.fromEntries(rows).WORD_LIST);
});

test("reasons", () => {
  for (const [number, reason] of REASONS.entries()) assert(TEXT.includes(`| ${number} | ${reason} |`), reason);
});

test("the path of the WebSocket", () => assert(TEXT.includes(`\`${rendezvous.PATH}\``)));
