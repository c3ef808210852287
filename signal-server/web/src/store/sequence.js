/**
 * A store for what can only be written from front to back: one file, or an archive of several. What
 * comes for another file than the one that is being written waits, which an orderly sender never makes
 * it do.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Entry } from "../proto/manifest.js"
 * @import { Store } from "../proto/receiver.js"
 *
 * @typedef {object} Output
 * @property {(bytes: Bytes) => Promise<void>} write
 * @property {() => Promise<void>} close
 * @property {() => Promise<void>} abort
 */

import { Failure } from "../net/failure.js";
import { Zip } from "./zip.js";

/** Bytes that may wait for their turn. */
const MOST_WAITING = 64 * 1024 * 1024;

/** Whether an offer is one file, which needs no archive. @param {Entry[]} entries */
export const isSingle = (entries) => entries.length === 1 && entries[0].kind !== "directory";

/** When an entry was changed last, in milliseconds. @param {Entry} entry */
const modifiedOf = ({ modified }) => (modified ? modified.seconds * 1000 : Date.now());

/** @implements {Store} */
export class SequenceStore {
  /** @param {Entry[]} entries @param {Output} output */
  constructor(entries, output) {
    this.entries = entries;
    this.output = output;
    this.zip = isSingle(entries) ? undefined : new Zip();
    this.confirmsEach = false;
    /** @type {number | undefined} */
    this.current = undefined;
    this.position = 0;
    /** What waits for its turn, by file and position. @type {Map<number, Map<number, Bytes>>} */
    this.waiting = new Map();
    this.held = 0;
    /** Files that are whole, and wait. @type {Set<number>} */
    this.whole = new Set();
  }

  /** @param {number} file @param {number} position @param {Bytes} bytes */
  async write(file, position, bytes) {
    if (this.current === undefined) await this.#begin(file);
    this.#keep(file, position, bytes);
    await this.#flush();
  }

  /** @param {number} file @param {number} position @param {Bytes} bytes */
  #keep(file, position, bytes) {
    this.held += bytes.length;
    if (this.held > MOST_WAITING) throw new Failure("protocol", { detail: "parts came in no order" });
    const parts = this.waiting.get(file) ?? new Map();
    this.waiting.set(file, parts.set(position, bytes));
  }

  async #flush() {
    while (this.current !== undefined) {
      const parts = this.waiting.get(this.current);
      for (let bytes; (bytes = parts?.get(this.position)); ) {
        parts?.delete(this.position);
        this.held -= bytes.length;
        this.position += bytes.length;
        await this.output.write(this.zip ? this.zip.data(bytes) : bytes);
      }
      if (!this.whole.has(this.current)) return;
      await this.#end(this.current);
    }
  }

  /** @param {number} file */
  async #begin(file) {
    [this.current, this.position] = [file, 0];
    const entry = this.entries[file];
    if (this.zip) await this.output.write(this.zip.begin(entry.path, false, modifiedOf(entry), entry.executable));
  }

  /** @param {number} file */
  async #end(file) {
    this.whole.delete(file);
    this.waiting.delete(file);
    if (this.zip) await this.output.write(this.zip.end());
    this.current = undefined;
    const [next] = [...this.waiting.keys(), ...this.whole];
    if (next !== undefined) await this.#begin(next);
  }

  /** @param {number} file */
  async finish(file) {
    const entry = this.entries[file];
    if (entry.kind === "directory") {
      await this.#folder(entry);
      return;
    }
    this.whole.add(file);
    if (this.current === undefined) await this.#begin(file);
    await this.#flush();
  }

  /** @param {Entry} entry */
  async #folder(entry) {
    // Folders are known before the first file is begun.
    if (this.zip) await this.output.write(this.zip.begin(entry.path, true, modifiedOf(entry), false));
  }

  /** @param {number} file */
  async discard(file) {
    this.waiting.delete(file);
    // What is in an archive, or in a download, cannot be taken out of it.
    if (this.current === file) throw new Failure("source-changed");
  }

  async close() {
    if (this.zip) await this.output.write(this.zip.close());
    await this.output.close();
  }

  abort() {
    return this.output.abort();
  }
}
