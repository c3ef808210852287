/**
 * What is kept of a transfer, through the worker that may write it (`src/keep.js`).
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Held } from "../proto/claims.js"
 */

import { Failure } from "../net/failure.js";

/** @typedef {Held & { at: number }} Placed */

export class Log {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.worker = new Worker("keep.js");
    this.requests = 0;
    /** @type {Map<number, (answer: { value?: any, error?: string }) => void>} */
    this.waiting = new Map();
    this.worker.onmessage = ({ data }) => {
      this.waiting.get(data.request)?.(data);
      this.waiting.delete(data.request);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const answer of this.waiting.values()) answer({ error: "the worker has ended" });
      this.waiting.clear();
    };
    /** What was kept before. @type {Placed[]} */
    this.held = [];
  }

  /** Goes on with what is kept under a name, or begins. @param {string} id */
  static async open(id) {
    const log = new Log(id);
    try {
      const notes = /** @type {number[]} */ (await log.#ask("open", { id }));
      let place = 0;
      for (let at = 0; at < notes.length; at += 3) {
        const [file, chunk, length] = notes.slice(at, at + 3);
        log.held.push({ file, chunk, length, at: place });
        place += length;
      }
      return log;
    } catch (error) {
      log.worker.terminate();
      throw error;
    }
  }

  /** @param {string} call @param {object} options @param {Transferable[]} [handed] @returns {Promise<any>} */
  async #ask(call, options, handed = []) {
    const request = ++this.requests;
    /** @type {Promise<{ value?: any, error?: string }>} */
    const answered = new Promise((resolve) => this.waiting.set(request, resolve));
    this.worker.postMessage({ request, call, ...options }, handed);
    const { value, error } = await answered;
    if (error !== undefined) throw new Failure("disk", { detail: error });
    return value;
  }

  /** @param {number} file @param {number} chunk @param {Bytes} bytes */
  append(file, chunk, bytes) {
    const copy = bytes.slice();
    return this.#ask("append", { file, chunk, bytes: copy }, [copy.buffer]);
  }

  /** @param {Placed} placed @returns {Promise<Bytes>} */
  read({ at, length }) {
    return this.#ask("read", { at, length });
  }

  /** Leaves everything where it is. */
  async close() {
    await this.#ask("close", {}).catch(() => {});
    this.worker.terminate();
  }

  /** Removes everything. */
  async remove() {
    await this.#ask("remove", { id: this.id }).catch(() => {});
    this.worker.terminate();
  }
}
