/**
 * What keeps a transfer over a reload: passes verified chunks on to where they go, and keeps them until
 * all of it is there. It is a help and no condition: where there is no room for it, the transfer goes
 * on without. One tab at a time has what is kept.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Held } from "../proto/claims.js"
 * @import { Entry } from "../proto/manifest.js"
 * @import { Store } from "../proto/receiver.js"
 * @import { Placed } from "./log.js"
 * @import { Row } from "./journal.js"
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { Failure } from "../net/failure.js";
import { hex, random } from "../proto/bytes.js";
import { keyOf } from "../proto/claims.js";
import { chunkingOf, writeEntry } from "../proto/manifest.js";
import * as journal from "./journal.js";
import { Log } from "./log.js";
import { FOLDER } from "./place.js";

/** A sender waits a day at most; older things nobody goes on with, in milliseconds. */
const MOST_AGE = 24 * 60 * 60 * 1000;

/** How long a tab that was reloaded may take to let go, and how long another is waited for, in milliseconds. */
const RELOADED = 3000;
const ELSEWHERE = 200;

export const canKeep = () => isSecureContext && "storage" in navigator && "locks" in navigator && "indexedDB" in globalThis;

/** Tells offers apart. @param {Entry[]} entries */
export function offerDigest(entries) {
  const hash = sha256.create();
  for (const entry of entries) {
    const bytes = writeEntry(entry);
    hash.update(Uint8Array.of(bytes.length >> 8, bytes.length & 255)).update(bytes);
  }
  return hex(/** @type {Bytes} */ (hash.digest()));
}

/** Whether this page was here before. */
const isReload = () => performance.getEntriesByType("navigation").some((entry) => /** @type {PerformanceNavigationTiming} */ (entry).type === "reload");

/** Takes what is kept under a name for this tab; gives what lets go of it. @param {string} id @returns {Promise<(() => void) | undefined>} */
function hold(id) {
  return new Promise((resolve) => {
    const held = () => new Promise((/** @type {(value?: unknown) => void} */ release) => resolve(() => release()));
    const taken = navigator.locks.request(`p2pshare ${id}`, { signal: AbortSignal.timeout(isReload() ? RELOADED : ELSEWHERE) }, held);
    taken.catch(() => resolve(undefined));
  });
}

/** Removes files that no row tells of, as those of a tab that ended between the two. @param {Row[]} rows */
async function sweep(rows) {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER).catch(() => undefined);
  /** @type {string[]} */
  const names = [];
  if (folder) for await (const name of folder.keys()) names.push(name);
  const known = new Set(rows.map(({ id }) => id));
  for (const name of names) {
    const [id] = name.split(".");
    const release = known.has(id) ? undefined : await hold(id);
    if (release) await folder?.removeEntry(name).finally(release);
  }
  // It goes only when it is empty.
  if (folder) await root.removeEntry(FOLDER).catch(() => {});
}

/** A browser whose storage does not answer is not waited for, in milliseconds. */
const PATIENCE = 4000;

/** @template T @param {Promise<T>} promise @param {(late: T) => unknown} onLate @returns {Promise<T | undefined>} */
async function within(promise, onLate) {
  const late = new Promise((/** @type {(value: undefined) => void} */ resolve) => setTimeout(() => resolve(undefined), PATIENCE));
  const first = await Promise.race([promise, late]);
  if (first === undefined) promise.then(onLate, () => {});
  return first;
}

/** @implements {Store} */
export class Kept {
  /** @param {Row} row @param {Log} log @param {() => void} release */
  constructor(row, log, release) {
    this.row = row;
    /** @type {Log | undefined} nothing when nothing is kept any more */
    this.log = log;
    this.release = release;
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Store | undefined} */
    this.inner = undefined;
    this.confirmsEach = false;
    this.isForgotten = false;
  }

  /** Begins to keep. @param {Omit<Row, "id" | "started">} what */
  static async begin(what) {
    const row = { ...what, id: hex(random(16)), started: Date.now() };
    const release = await hold(row.id);
    await journal.put(row);
    try {
      return new Kept(row, await Log.open(row.id), release ?? (() => {}));
    } catch (error) {
      await journal.remove(row.id);
      throw error;
    }
  }

  /** What is kept, no other tab has, and is what is looked for; the newest. @param {(row: Row) => boolean} isIt @returns {Promise<Kept | undefined>} */
  static async find(isIt) {
    return canKeep() ? within(Kept.#find(isIt), (late) => late?.leave()) : undefined;
  }

  /** @param {(row: Row) => boolean} isIt */
  static async #find(isIt) {
    try {
      const rows = await journal.rows();
      await sweep(rows);
      for (const row of rows) {
        const isOld = Date.now() - row.started > MOST_AGE;
        const release = isOld || isIt(row) ? await hold(row.id) : undefined;
        if (!release) continue;
        const kept = new Kept(row, await Log.open(row.id), release);
        if (!isOld && kept.bytes > 0) return kept;
        await kept.forget();
      }
    } catch (error) {
      console.info("p2pshare: nothing kept can be read:", String(error));
    }
    return undefined;
  }

  /** What is here from before; of a chunk that came twice, the last. @returns {Placed[]} */
  get held() {
    const chunks = new Map(this.log?.held.map((held) => [keyOf(held.file, held.chunk), held]));
    return [...chunks.values()].sort((one, other) => one.file - other.file || one.chunk - other.chunk);
  }

  get bytes() {
    return this.held.reduce((sum, { length }) => sum + length, 0);
  }

  /** Where it all goes, and how the sender is met again. @param {Store} inner @param {Entry[]} entries @param {Partial<Row>} now */
  async into(inner, entries, now) {
    [this.inner, this.entries, this.confirmsEach] = [inner, entries, inner.confirmsEach];
    Object.assign(this.row, now);
    await journal.put(this.row).catch(() => this.forget());
  }

  /** @param {Held} held @returns {Promise<Bytes>} */
  async read(held) {
    if (!this.log) throw new Failure("disk", { detail: "nothing is kept" });
    return this.log.read(/** @type {Placed} */ (held));
  }

  /** What was kept goes where it belongs. @param {number} file @param {number} position @param {Bytes} bytes */
  async restore(file, position, bytes) {
    await this.inner?.write(file, position, bytes);
  }

  /** @param {number} file @param {number} position @param {Bytes} bytes */
  async write(file, position, bytes) {
    const { chunkSize } = chunkingOf(this.entries[file]);
    const kept = [];
    for (let at = 0; at < bytes.length; at += chunkSize) {
      kept.push(this.log?.append(file, (position + at) / chunkSize, bytes.subarray(at, at + chunkSize)));
    }
    await Promise.all([this.inner?.write(file, position, bytes), Promise.all(kept).catch(() => this.forget())]);
  }

  /** @param {number} file */
  async finish(file) {
    await this.inner?.finish(file);
  }

  /** @param {number} file */
  async discard(file) {
    await this.inner?.discard(file);
  }

  async close() {
    await this.inner?.close();
    await this.forget();
  }

  /** @param {boolean} [isToGoOn] whether it is kept for another time */
  async abort(isToGoOn = false) {
    await this.inner?.abort();
    if (!isToGoOn) return this.forget();
    // The sender is not met again in the old way.
    delete this.row.reunion;
    if (this.log) await journal.put(this.row).catch(() => {});
    await this.leave();
  }

  /** Leaves it for another time. */
  async leave() {
    const { log } = this;
    this.log = undefined;
    await log?.close();
    this.release();
  }

  /** Nothing is left of it. */
  async forget() {
    const { log } = this;
    this.log = undefined;
    this.isForgotten = true;
    if (!log) return;
    await log.remove();
    await journal.remove(this.row.id).catch(() => {});
    this.release();
  }
}
