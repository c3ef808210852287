/**
 * The receiver's machine: takes an offer apart, wants what it lacks, checks every byte's place and
 * every chunk's hash before anything is written, and says that a file is safe once its store says so.
 * PROTOCOL.md, "A transfer". It outlives a connection.
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Held, Kept } from "./claims.js"
 * @import { Chunking } from "./digest.js"
 * @import { ChunkHash, Finished, Frame, Part, Range, Wanted } from "./frame.js"
 * @import { Entry } from "./manifest.js"
 *
 * @typedef {object} Store where verified bytes go
 * @property {(file: number, position: number, bytes: Bytes) => Promise<void>} write whole chunks, in any order of files, each from its start on
 * @property {(file: number) => Promise<void>} finish everything of a file is written: make it safe
 * @property {(file: number) => Promise<void>} discard a file will not come
 * @property {() => Promise<void>} close everything is finished
 * @property {(isToGoOn?: boolean) => Promise<void>} abort nothing of what is unfinished may stay under its name
 * @property {boolean} confirmsEach whether a file is safe once it is finished, or only all together are
 *
 * @typedef {object} Events
 * @property {(frame: Frame) => void} send on the control channel
 * @property {() => void} onOffer the offer is complete
 * @property {() => void} onProgress bytes were verified
 * @property {() => void} onDone everything is safe, and the sender is told
 * @property {(error: unknown) => void} onFailed this end cannot go on
 */

import { equal, joined } from "./bytes.js";
import { Claims } from "./claims.js";
import { hashChunk, tree } from "./digest.js";
import { TO_THE_END } from "./frame.js";
import { Offer, chunkingOf } from "./manifest.js";
import { Refused } from "./wire.js";

const WINDOW = 16 * 1024 * 1024;
const CREDIT_STEP = 512 * 1024;
const MAX_OPEN_CHUNKS = 64;
const MAX_WAITING_RECORDS = 32768;

/** Ranges that one frame tells. */
const BATCH = 1000;

/** @param {string} what */
const violation = (what) => new Refused("protocol", what);

/** A store is quicker with fewer and larger pieces. */
const MOST_AT_ONCE = 2 * 1024 * 1024;

/** One chunk on its way. @typedef {{ parts: Bytes[], filled: number }} Arriving */

/**
 * A chunk that is whole, and not written.
 *
 * @typedef {object} Unwritten
 * @property {number} file
 * @property {Incoming} incoming
 * @property {number} chunk
 * @property {number} position
 * @property {Bytes} bytes
 * @property {Bytes} hash that it must have
 * @property {Promise<Bytes>} hashed that it has
 * @property {number} records that brought it
 * @property {number} connection
 */

/** A file of which something has come. */
class Incoming {
  /** @param {Entry} entry */
  constructor(entry) {
    this.isStream = entry.kind === "stream";
    /** @type {Chunking} */
    this.chunking = chunkingOf(entry);
    /** @type {Map<number, Arriving>} */
    this.arriving = new Map();
    /** Chunks that are being hashed and written. @type {Set<number>} */
    this.busy = new Set();
    /** Hashes of what is verified and written. @type {Bytes[]} */
    this.hashes = [];
    this.verified = 0;
    /** Verified chunks at the start. */
    this.prefix = 0;
    /** @type {Finished | undefined} */
    this.fin = undefined;
  }

  /** The chunks that are neither here nor on their way to the store. @returns {Range[]} */
  missing() {
    /** @type {Range[]} */
    const gaps = [];
    const end = Number.isFinite(this.chunking.count) ? this.chunking.count : this.hashes.length;
    for (let chunk = 0; chunk < end; chunk++) {
      if (this.hashes[chunk] || this.busy.has(chunk)) continue;
      const last = gaps.at(-1);
      if (last && last[1] === chunk) last[1]++;
      else gaps.push([chunk, chunk + 1]);
    }
    if (!Number.isFinite(this.chunking.count)) gaps.push([end, TO_THE_END]);
    return gaps;
  }
}

export class Receiver {
  /** @param {Events} events */
  constructor(events) {
    this.events = events;
    this.offer = new Offer();
    /** @type {Store | undefined} */
    this.store = undefined;
    /** What is here from before. @type {Kept | undefined} */
    this.kept = undefined;
    this.claims = new Claims([]);
    /** @type {Map<number, Incoming>} */
    this.incoming = new Map();
    /** @type {("told" | "complete" | "confirmed" | "withdrawn")[]} */
    this.stages = [];
    this.unresolved = 0;
    /** Bytes of the files that are verified and written. */
    this.bytes = 0;
    this.endFirst = false;
    this.isOver = false;
    this.isFailed = false;
    /** @type {Unwritten[]} */
    this.unwritten = [];
    /** What the store does, one after the other. */
    this.order = Promise.resolve();
    /** How much may wait for the store before it counts against credit: two of the largest chunks. */
    this.slack = 0;
    /** Counts connections: what an earlier one began is void. */
    this.connection = 0;
    /** Bytes of earlier connections that are still on their way to the store. */
    this.earlier = 0;
    /** Bytes of this one that are here and not written. */
    this.held = 0;
    /** Those of them whose chunk is not whole. */
    this.begun = 0;
    this.received = 0;
    this.granted = 0;
    this.records = 0;
    this.open = 0;
  }

  /** Counts anew, on a new connection. */
  #restart() {
    this.connection++;
    this.earlier += this.held - this.begun;
    this.held = 0;
    this.begun = 0;
    this.received = 0;
    this.granted = 0;
    this.records = 0;
    this.open = 0;
  }

  /** Takes a frame. @param {Frame} frame */
  frame(frame) {
    if (this.isOver) return;
    switch (frame.type) {
      case "manifest":
        return frame.entries.forEach((entry) => this.#offered(entry));
      case "manifest-end":
        this.offer.end(frame.entries, frame.bytes);
        return this.store ? this.#endIfResolved() : this.events.onOffer();
      case "withdraw":
        return each(frame.files, (file) => this.#withdrawn(file));
      case "data":
        return frame.records.forEach((part) => this.#place(part));
      case "hashes":
        return frame.hashes.forEach((hash) => this.#announced(hash));
      case "fin":
        return frame.files.forEach((finished) => this.#finished(finished));
      case "limited":
        return undefined;
      default:
        throw violation("a message came out of turn");
    }
  }

  /** @param {Entry} entry */
  #offered(entry) {
    this.offer.add(entry);
    this.stages.push("told");
    this.unresolved++;
  }

  /**
   * The user wants what is offered; a store is there for it.
   *
   * @param {Store} store @param {boolean} [endFirst] of a file that is looked at while it arrives: many
   *   have at their end what tells where everything is
   * @param {Kept} [kept] what is here from before, and is claimed
   */
  accept(store, endFirst = false, kept = undefined) {
    this.store = store;
    this.kept = kept;
    this.claims = new Claims(kept?.held.filter((held) => this.#isOffered(held)) ?? []);
    this.endFirst = endFirst;
    this.#tell({ type: "accept" });
    this.#grant();
    for (const [file, { kind }] of this.offer.entries.entries()) {
      if (kind === "directory") this.#complete(file);
    }
    this.#goOn();
  }

  /** @param {Held} held */
  #isOffered({ file, chunk, length }) {
    const entry = this.offer.entries[file];
    return entry?.kind === "file" && chunkingOf(entry).length(chunk) === length;
  }

  /** A new connection: what was under way on the old one is void. */
  reconnected() {
    this.#restart();
    this.claims.restart();
    for (const incoming of this.incoming.values()) {
      incoming.arriving.clear();
      incoming.fin = undefined;
    }
    this.#tell({ type: "resume", entries: this.offer.entries.length });
    if (!this.store) return;
    this.#tell({ type: "accept" });
    this.#grant();
    const confirmed = this.stages.flatMap((stage, file) => (stage === "confirmed" ? [file] : []));
    this.#confirmed(confirmed);
    this.#goOn();
  }

  /** Claims what is here from before; when all that is answered, wants the rest, so that it comes in order. */
  #goOn() {
    if (this.claims.isOver) this.#want();
    else this.#claim();
  }

  async #claim() {
    const { claims, connection } = this;
    for (let held; (held = claims.next()); ) {
      const { file, chunk } = held;
      const hash = await this.kept?.read(held).then(hashChunk, () => undefined);
      if (connection !== this.connection) return;
      if (hash && this.stages[file] === "told") {
        this.#incomingOf(file, this.offer.entries[file]);
        claims.claimed(held, hash);
        this.#tell({ type: "claim", hashes: [{ file, chunk, hash }] });
      } else if (claims.drop(file, chunk) && claims.isOver) {
        this.#want();
      }
    }
  }

  /** Wants everything that is not here. */
  #want() {
    /** @type {Wanted[]} */
    const wanted = [];
    for (const [file, { kind }] of this.offer.entries.entries()) {
      if (this.stages[file] !== "told" || kind === "directory") continue;
      const last = wanted.at(-1);
      const incoming = this.incoming.get(file);
      if (incoming) {
        const gaps = incoming.missing();
        if (gaps.length === 0) gaps.push([0, 0]);
        wanted.push(...gaps.map((chunks) => ({ files: /** @type {Range} */ ([file, file + 1]), chunks })));
      } else if (last?.files[1] === file && last.chunks[0] === 0 && last.chunks[1] === TO_THE_END) {
        last.files[1]++;
      } else {
        wanted.push({ files: [file, file + 1], chunks: [0, TO_THE_END] });
      }
    }
    this.#takeEndFirst(wanted);
    for (let at = 0; at < wanted.length; at += BATCH) {
      this.#tell({ type: "want", wanted: wanted.slice(at, at + BATCH) });
    }
  }

  /** Puts the last chunk of the one file in front. @param {Wanted[]} wanted */
  #takeEndFirst(wanted) {
    const [want] = wanted;
    const count = chunkingOf(this.offer.entries[0]).count;
    const isWhole = wanted.length === 1 && want.chunks[0] === 0 && want.chunks[1] === TO_THE_END;
    if (!this.endFirst || !isWhole || !(count > 2 && count < TO_THE_END)) return;
    wanted.unshift({ files: want.files, chunks: [count - 1, count] });
    want.chunks[1] = count - 1;
  }

  /** @param {Part} part */
  #place({ file, chunk, offset, bytes }) {
    this.received += bytes.length;
    this.records++;
    if (!this.store || this.received > this.granted || this.records > MAX_WAITING_RECORDS) {
      throw violation("it sent more than there was room for");
    }
    const entry = this.offer.entries[file];
    if (!entry) throw violation("it sent more than it offered");
    if (this.stages[file] === "withdrawn") {
      this.records--;
      return this.#grant();
    }
    if (this.stages[file] !== "told" || entry.kind === "directory") throw violation("a message came out of turn");
    const incoming = this.#incomingOf(file, entry);
    const whole = incoming.chunking.length(chunk);
    const arriving = incoming.arriving.get(chunk) ?? { parts: [], filled: 0 };
    const isTaken = incoming.busy.has(chunk) || incoming.hashes[chunk] !== undefined;
    if (isTaken || offset !== arriving.filled || !(offset + bytes.length <= whole)) {
      throw violation("it sent parts of a file out of order");
    }
    if (arriving.filled === 0) this.open++;
    arriving.parts.push(bytes);
    arriving.filled += bytes.length;
    if (arriving.filled === whole) this.open--;
    if (this.open > MAX_OPEN_CHUNKS) throw violation("it began too many chunks");
    incoming.arriving.set(chunk, arriving);
    this.held += bytes.length;
    this.begun += bytes.length;
    this.#grant();
  }

  /** @param {number} file @param {Entry} entry */
  #incomingOf(file, entry) {
    let incoming = this.incoming.get(file);
    if (!incoming) this.incoming.set(file, (incoming = new Incoming(entry)));
    this.slack = Math.max(this.slack, 2 * incoming.chunking.chunkSize);
    return incoming;
  }

  /** All bytes of a chunk are here, and this is what they must be. @param {ChunkHash} announced */
  #announced({ file, chunk, hash }) {
    if (this.stages[file] === "withdrawn") return;
    const incoming = this.incoming.get(file);
    const arriving = incoming?.arriving.get(chunk);
    const claim = arriving ? undefined : this.claims.answered(file, chunk);
    if (incoming && claim) return this.#restore(file, incoming, chunk, claim.held, equal(claim.hash, hash) ? claim.hash : undefined);
    const isWhole = arriving && (incoming?.isStream || arriving.filled === incoming?.chunking.length(chunk));
    if (!incoming || !arriving || !isWhole) throw violation("it sent a hash out of order");
    incoming.arriving.delete(chunk);
    incoming.busy.add(chunk);
    // The last chunk of a stream ends with its hash.
    if (arriving.filled < incoming.chunking.length(chunk)) this.open--;
    this.begun -= arriving.filled;
    this.#keep(file, incoming, chunk, arriving, hash);
    // What was claimed is another at the sender.
    if (this.claims.drop(file, chunk)) this.#goOn();
  }

  /**
   * The sender has the same.
   *
   * @param {number} file @param {Incoming} incoming @param {number} chunk @param {Held} held @param {Bytes | undefined} hash
   */
  #restore(file, incoming, chunk, held, hash) {
    if (!hash) throw violation("it sent a hash out of order");
    incoming.busy.add(chunk);
    this.#inOrder(async () => {
      const bytes = await /** @type {Kept} */ (this.kept).read(held);
      if (this.stages[file] === "told") await this.kept?.restore(file, incoming.chunking.start(chunk), bytes);
      this.claims.written(held);
      this.#verified(file, incoming, chunk, hash, held.length);
      this.#goOn();
    });
  }

  /** @param {number} file @param {Incoming} incoming @param {number} chunk @param {Bytes} hash @param {number} length */
  #verified(file, incoming, chunk, hash, length) {
    this.bytes += length;
    incoming.busy.delete(chunk);
    incoming.hashes[chunk] = hash.slice();
    incoming.verified++;
    this.#prefix(file, incoming);
    this.events.onProgress();
    this.#completeIfWhole(file, incoming);
  }

  /**
   * Checks a chunk, and only then has it written.
   *
   * @param {number} file @param {Incoming} incoming @param {number} chunk @param {Arriving} arriving @param {Bytes} hash
   */
  #keep(file, incoming, chunk, { parts, filled }, hash) {
    const bytes = joined(parts);
    const [records, position] = [parts.length, incoming.chunking.start(chunk)];
    const hashed = hashChunk(bytes);
    this.unwritten.push({ file, incoming, chunk, position, bytes, hash, hashed, records, connection: this.connection });
    this.#inOrder(() => this.#write(this.#nextToWrite()));
  }

  /** The chunk that waits longest, if it did not go with one before it, and those that follow it in its file. */
  #nextToWrite() {
    const run = this.unwritten.splice(0, 1);
    let length = run[0]?.bytes.length;
    for (let next; (next = this.unwritten[0]); length += next.bytes.length) {
      const [first] = run;
      const follows = next.file === first.file && next.position === first.position + length;
      if (!follows || length + next.bytes.length > MOST_AT_ONCE) break;
      run.push(next);
      this.unwritten.shift();
    }
    return run;
  }

  /** @param {Unwritten[]} run */
  async #write(run) {
    for (const { hash, hashed } of run) {
      if (!equal(await hashed, hash)) throw new Refused("verification", "what arrived is not what was sent");
    }
    const [first] = run;
    if (first && this.stages[first.file] === "told") {
      await this.store?.write(first.file, first.position, joined(run.map(({ bytes }) => bytes)));
    }
    for (const { file, incoming, chunk, bytes, hash, records, connection } of run) {
      const isLate = connection !== this.connection;
      this.held -= isLate ? 0 : bytes.length;
      this.earlier -= isLate ? bytes.length : 0;
      this.records -= isLate ? 0 : records;
      this.#grant();
      this.#verified(file, incoming, chunk, hash, bytes.length);
    }
  }

  /** A sender keeps what it has read of a stream until it hears that it is here. @param {number} file @param {Incoming} incoming */
  #prefix(file, incoming) {
    const before = incoming.prefix;
    while (incoming.hashes[incoming.prefix]) incoming.prefix++;
    if (incoming.isStream && incoming.prefix > before) this.#tell({ type: "kept", file, chunks: incoming.prefix });
  }

  /** @param {Finished} finished */
  #finished(finished) {
    const { file, size } = finished;
    const entry = this.offer.entries[file];
    if (!this.store || !entry || entry.kind === "directory") throw violation("a message came out of turn");
    if (this.stages[file] !== "told") return;
    const incoming = this.#incomingOf(file, entry);
    if (incoming.isStream) incoming.chunking.size = size;
    else if (size !== entry.size) throw violation("the size of a file is another than it was");
    const before = incoming.fin;
    if (before && (before.size !== size || !equal(before.digest, finished.digest))) {
      throw violation("it finished a file twice");
    }
    incoming.fin = { ...finished, digest: finished.digest.slice() };
    this.#completeIfWhole(file, incoming);
  }

  /** @param {number} file @param {Incoming} incoming */
  #completeIfWhole(file, incoming) {
    const { fin, verified, chunking, hashes } = incoming;
    if (!fin || verified !== chunking.count || this.stages[file] !== "told") return;
    if (!equal(tree(hashes), fin.digest)) throw new Refused("verification", "what arrived is not what was sent");
    this.#complete(file);
    this.incoming.delete(file);
  }

  /** @param {number} file */
  #complete(file) {
    this.stages[file] = "complete";
    this.#inOrder(async () => {
      await this.store?.finish(file);
      if (this.store?.confirmsEach) this.#confirmed([file]);
      this.unresolved--;
      this.#endIfResolved();
    });
  }

  /** @param {number} file */
  #withdrawn(file) {
    const stage = this.stages[file];
    if (stage === undefined) throw violation("it withdrew what it did not offer");
    if (stage !== "told") return;
    this.stages[file] = "withdrawn";
    const incoming = this.incoming.get(file);
    for (const [chunk, { filled, parts }] of incoming?.arriving ?? []) {
      this.held -= filled;
      this.begun -= filled;
      this.records -= parts.length;
      if (filled < /** @type {Incoming} */ (incoming).chunking.length(chunk)) this.open--;
    }
    this.incoming.delete(file);
    this.unresolved--;
    if (!this.claims.isOver) {
      this.claims.forget(file);
      this.#goOn();
    }
    if (this.store) this.#inOrder(async () => this.store?.discard(file));
    this.#endIfResolved();
  }

  /** @param {number[]} files in order */
  #confirmed(files) {
    /** @type {Range[]} */
    const ranges = [];
    for (const file of files) {
      this.stages[file] = "confirmed";
      const last = ranges.at(-1);
      if (last && last[1] === file) last[1]++;
      else ranges.push([file, file + 1]);
    }
    for (let at = 0; at < ranges.length; at += BATCH) {
      this.#tell({ type: "fin-ok", files: ranges.slice(at, at + BATCH) });
    }
  }

  #endIfResolved() {
    if (!this.offer.isComplete || this.unresolved > 0 || !this.store || this.isOver) return;
    this.#inOrder(async () => {
      if (this.isOver) return;
      await this.store?.close();
      const left = this.stages.flatMap((stage, file) => (stage === "complete" ? [file] : []));
      this.#confirmed(left);
      this.isOver = true;
      this.events.onDone();
    });
  }

  /** Files that the sender could not send. */
  get withdrawn() {
    return this.stages.filter((stage) => stage === "withdrawn").length;
  }

  /** More credit, when enough was written since the last. */
  #grant() {
    const waiting = Math.max(0, this.held - this.slack);
    const limit = this.received - waiting + WINDOW - this.earlier;
    if (limit < this.granted + CREDIT_STEP) return;
    this.granted = limit;
    this.#tell({ type: "credit", limit });
  }

  /** @param {Frame} frame */
  #tell(frame) {
    if (!this.isOver) this.events.send(frame);
  }

  /** Does something with the store after everything that was begun before. @param {() => Promise<void>} act */
  #inOrder(act) {
    this.order = this.order.then(async () => {
      if (this.isFailed) return;
      try {
        await act();
      } catch (error) {
        this.isFailed = true;
        this.events.onFailed(error);
      }
    });
  }
}

/** @param {Range[]} ranges @param {(file: number) => void} act */
function each(ranges, act) {
  for (const [first, end] of ranges) {
    // A range is no longer than what was offered, which ends this at the first that was not.
    for (let file = first; file < end; file++) act(file);
  }
}
