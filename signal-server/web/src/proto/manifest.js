/**
 * What is offered. PROTOCOL.md, "Entries" and "The offer".
 *
 * @import { Bytes } from "./bytes.js"
 * @typedef {"file" | "directory" | "text" | "stream" | "symlink"} Kind
 * @typedef {{ seconds: number, nanoseconds: number }} Modified
 * @typedef {object} Entry
 * @property {Kind} kind
 * @property {string[]} path names from the outside in
 * @property {number} size in bytes
 * @property {Modified | null} modified
 * @property {boolean} executable
 */

import { concat, utf8 } from "./bytes.js";
import { Chunking } from "./digest.js";
import { checkPath } from "./name.js";
import { CRITICAL, Fields, Refused, field, mark, numberField, string, u32, u64, u8 } from "./wire.js";

/** @type {(Kind | undefined)[]} */
const KINDS = [undefined, "file", "directory", "text", "stream", "symlink"];

const MAX_ENTRIES = 1_000_000;
const MAX_MEMORY = 100 * 1024 * 1024;
const ENTRY_OVERHEAD = 112;
const MAX_TEXT = 1024 * 1024;

/** @param {Entry} entry */
export const chunkingOf = (entry) => (entry.kind === "stream" ? Chunking.ofStream() : new Chunking(entry.size));

/** @param {Entry} entry @returns {Bytes} */
export function writeEntry({ kind, path, size, modified, executable }) {
  return concat([
    numberField(CRITICAL | 1, KINDS.indexOf(kind), 1),
    ...path.map((name) => field(CRITICAL | 2, utf8(name))),
    numberField(CRITICAL | 3, size, 8),
    ...(modified ? [numberField(4, modified.seconds, 8), numberField(5, modified.nanoseconds, 4)] : []),
    ...(executable ? [field(6, new Uint8Array())] : []),
  ]);
}

/** @param {Bytes} bytes @returns {Entry} */
export function readEntry(bytes) {
  const fields = new Fields(bytes);
  const path = fields.all(CRITICAL | 2, string);
  const kind = KINDS[fields.required(CRITICAL | 1, u8)];
  if (kind === undefined) throw new Refused("out-of-range");
  checkPath(path);
  const size = fields.required(CRITICAL | 3, u64);
  const modified = readModified(fields);
  const executable = fields.optional(6, mark) ?? false;
  fields.finish();
  return { kind, path, size, modified, executable };
}

/** @param {Fields} fields @returns {Modified | null} */
function readModified(fields) {
  const [seconds, nanoseconds] = [fields.optional(4, u64), fields.optional(5, u32) ?? 0];
  if (nanoseconds >= 1e9) throw new Refused("out-of-range");
  return seconds === undefined ? null : { seconds, nanoseconds };
}

/** An offer as it arrives: nothing twice, nothing outside its folder, no more than anybody can take. */
export class Offer {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    this.bytes = 0;
    this.isComplete = false;
    /** By path, whether an entry is a folder. @type {Map<string, boolean>} */
    this.folders = new Map();
    this.memory = 0;
    this.item = "";
  }

  /** Throws what is wrong with it, in words. @param {Entry} entry */
  add(entry) {
    if (this.isComplete) throw new Refused("protocol", "it offers more after the end of its offer");
    const path = entry.path.join("/");
    this.memory += ENTRY_OVERHEAD + path.length;
    if (this.entries.length >= MAX_ENTRIES || this.memory > MAX_MEMORY) {
      throw new Refused("protocol", "it offers more than anybody can take");
    }
    this.#checkKind(entry);
    this.#checkPlace(entry, path);
    this.entries.push(entry);
    this.bytes += entry.size;
  }

  /** @param {Entry} entry */
  #checkKind({ kind, path, size }) {
    const isAlone = this.entries.length === 0 && path.length === 1;
    const fits =
      kind === "file" ||
      (kind === "directory" && size === 0) ||
      (kind === "text" && isAlone && size <= MAX_TEXT) ||
      (kind === "stream" && isAlone && size === 0);
    const goesAlone = ["text", "stream"].includes(this.entries[0]?.kind);
    if (!fits || goesAlone) throw new Refused("protocol", "it offers what this version cannot take");
  }

  /** @param {Entry} entry @param {string} path */
  #checkPlace(entry, path) {
    if (this.folders.has(path)) throw new Refused("protocol", "it offers a name twice");
    if (entry.path.length === 1) {
      this.item = path;
    } else {
      const parent = entry.path.slice(0, -1).join("/");
      if (entry.path[0] !== this.item || this.folders.get(parent) !== true) {
        throw new Refused("protocol", "it offers something in a folder that it does not offer");
      }
    }
    this.folders.set(path, entry.kind === "directory");
  }

  /** @param {number} entries @param {number} bytes */
  end(entries, bytes) {
    if (entries !== this.entries.length || bytes !== this.bytes) {
      throw new Refused("protocol", "the sums of its offer are wrong");
    }
    if (entries === 0) throw new Refused("protocol", "it offers nothing");
    this.isComplete = true;
  }
}
