/**
 * The sender's machine: offers files, sends what the receiver wants of them, each chunk with its
 * hash, and is done when the receiver says of every file that it is safe or not wanted. PROTOCOL.md,
 * "A transfer". It outlives a connection.
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Chunking } from "./digest.js"
 * @import { ChunkHash, Frame, Range, Wanted } from "./frame.js"
 * @import { Entry } from "./manifest.js"
 *
 * @typedef {object} Events
 * @property {(frame: Frame) => void} send on the control channel
 * @property {(frame: Bytes) => Promise<void>} sendData on the data lane; ready when there is room for more
 * @property {(file: number, start: number, length: number) => Promise<Bytes>} read
 * @property {(failed: unknown) => void} onFailed this end cannot go on
 * @property {() => void} onAccepted
 * @property {() => void} onProgress bytes were sent
 * @property {() => void} onDone every file has found its end
 *
 * @typedef {{ file: number, chunk: number, claimed?: Bytes }} Job
 * @typedef {Job & { connection: number, bytes: Bytes | undefined, hash: Bytes | undefined }} Loaded
 */

import { concat, equal } from "./bytes.js";
import { hashChunk, tree } from "./digest.js";
import { DATA_HEADER, TO_THE_END, writeFrame } from "./frame.js";
import { NUMBER } from "./lanes.js";
import { chunkingOf, writeEntry } from "./manifest.js";
import { Refused, bigEndian, u32s } from "./wire.js";

const MAX_WAITING_WISHES = 262144;
const MAX_WAITING_CLAIMS = 4096;

/** Chunks that are read and hashed before their turn: how many, and when no more are begun, in bytes. */
const MOST_AHEAD = 16;
const BYTES_AHEAD = 2 * 1024 * 1024;

/** Bytes of entries in one manifest frame; the longest entry is far shorter than what is left. */
const MANIFEST_FILL = 56 * 1024;

const DATA = bigEndian(0x8002, 2);

/** @param {string} what */
const violation = (what) => new Refused("protocol", what);

/** What is known of a file of which something was asked for. */
class Outgoing {
  /** @param {Entry} entry */
  constructor(entry) {
    /** @type {Chunking} */
    this.chunking = chunkingOf(entry);
    /** @type {Bytes[]} */
    this.hashes = [];
    this.known = 0;
    /** Wishes and claims that name it and are not answered. */
    this.open = 0;
  }
}

/** Lets one task wait; a ring before that is not lost. */
class Bell {
  constructor() {
    this.hasRung = false;
    this.hear = () => {};
  }

  ring() {
    this.hasRung = true;
    this.hear();
  }

  async heard() {
    if (!this.hasRung) await new Promise((resolve) => (this.hear = () => resolve(undefined)));
    this.hasRung = false;
  }
}

export class Sender {
  /** @param {Entry[]} entries @param {Events} events @param {number} longest message that the receiver takes, in bytes */
  constructor(entries, events, longest) {
    this.entries = entries;
    this.events = events;
    this.payload = longest - NUMBER - DATA_HEADER;
    /** @type {("offered" | "finished" | "confirmed" | "skipped" | "withdrawn")[]} */
    this.stages = entries.map(() => "offered");
    this.unsettled = entries.length;
    /** @type {Map<number, Outgoing>} */
    this.outgoing = new Map();
    /** @type {Wanted[]} */
    this.wishes = [];
    /** @type {ChunkHash[]} */
    this.claims = [];
    this.isAccepted = false;
    /** Whether there is a connection that both ends know of. */
    this.isUp = true;
    this.isOver = false;
    /** Rings when there are wishes, credit, or nothing more to wait for. */
    this.bell = new Bell();
    /** Bytes of the files that were sent. */
    this.bytes = 0;
    /** Counts connections: what an earlier one began is void. */
    this.connection = 0;
    this.limit = 0;
    this.sent = 0;
  }

  /** Offers everything, and begins to answer. */
  start() {
    this.#offer(0);
    this.#run();
  }

  /** @param {number} from */
  #offer(from) {
    /** @type {Entry[]} */
    let entries = [];
    let filled = 0;
    for (const entry of this.entries.slice(from)) {
      filled += 4 + writeEntry(entry).length;
      entries.push(entry);
      if (filled < MANIFEST_FILL) continue;
      this.#tell({ type: "manifest", entries });
      [entries, filled] = [[], 0];
    }
    if (entries.length > 0) this.#tell({ type: "manifest", entries });
    const bytes = this.entries.reduce((sum, { size }) => sum + size, 0);
    this.#tell({ type: "manifest-end", entries: this.entries.length, bytes });
  }

  /** Takes a frame. @param {Frame} frame */
  frame(frame) {
    if (this.isOver || frame.type === "limited") return;
    if (!this.isUp) throw violation("a message came out of turn");
    if (frame.type === "accept" && !this.isAccepted) {
      this.isAccepted = true;
      return this.events.onAccepted();
    }
    if (!this.isAccepted) throw violation("a message came out of turn");
    switch (frame.type) {
      case "credit":
        if (frame.limit < this.limit) throw violation("credit fell");
        this.limit = frame.limit;
        return this.bell.ring();
      case "want":
        return frame.wanted.forEach((wanted) => this.#wanted(wanted));
      case "claim":
        return frame.hashes.forEach((claim) => this.#claimed(claim));
      case "skip":
        return this.#each(frame.files, (file) => this.#settle(file, "skipped"));
      case "fin-ok":
        return this.#each(frame.files, (file) => this.#delivered(file));
      default:
        throw violation("a message came out of turn");
    }
  }

  /** @param {Range[]} ranges @param {(file: number) => void} act */
  #each(ranges, act) {
    if (ranges.some(([, end]) => end > this.entries.length)) throw violation("it named what was not offered");
    for (const [first, end] of ranges) for (let file = first; file < end; file++) act(file);
    this.#endIfSettled();
  }

  /** @param {Wanted} wanted */
  #wanted(wanted) {
    const [first, end] = wanted.files;
    if (end > this.entries.length) throw violation("it asked for what was not offered");
    if (this.wishes.length >= MAX_WAITING_WISHES) throw violation("it asked for too much at once");
    if (end - first > 1) {
      this.wishes.push({ files: [first, end], chunks: [0, TO_THE_END] });
      return this.bell.ring();
    }
    const stage = this.stages[first];
    if (stage === "withdrawn") return;
    const isFolder = this.entries[first].kind === "directory";
    if (isFolder || stage === "skipped" || stage === "confirmed") throw violation("it asked for what was not offered");
    const { count } = this.#outgoingOf(first).chunking;
    const [, last] = wanted.chunks;
    if (last !== TO_THE_END && last > count) throw violation("it asked for what was not offered");
    this.#outgoingOf(first).open++;
    this.stages[first] = "offered";
    this.wishes.push({ files: [first, end], chunks: [...wanted.chunks] });
    this.bell.ring();
  }

  /** @param {ChunkHash} claim */
  #claimed(claim) {
    const entry = this.entries[claim.file];
    const isFile = entry !== undefined && entry.kind !== "directory";
    if (!isFile || claim.chunk >= chunkingOf(entry).count) throw violation("it claimed what was not offered");
    if (this.claims.length >= MAX_WAITING_CLAIMS) throw violation("it claimed too much at once");
    if (!["offered", "finished"].includes(this.stages[claim.file])) return;
    this.#outgoingOf(claim.file).open++;
    this.stages[claim.file] = "offered";
    this.claims.push({ ...claim, hash: claim.hash.slice() });
    this.bell.ring();
  }

  /** @param {number} file */
  #outgoingOf(file) {
    let outgoing = this.outgoing.get(file);
    if (!outgoing) this.outgoing.set(file, (outgoing = new Outgoing(this.entries[file])));
    return outgoing;
  }

  /** @param {number} file */
  #delivered(file) {
    const stage = this.stages[file];
    const isFolder = this.entries[file].kind === "directory";
    if (stage !== "finished" && stage !== "confirmed" && !(isFolder && stage === "offered")) {
      throw violation("it confirmed what was not finished");
    }
    this.#settle(file, "confirmed");
  }

  /** @param {number} file @param {"confirmed" | "skipped" | "withdrawn"} stage */
  #settle(file, stage) {
    const isLast = (/** @type {string} */ of) => of !== "offered" && of !== "finished";
    if (this.stages[file] === "withdrawn") return;
    if (!isLast(this.stages[file])) this.unsettled--;
    this.stages[file] = stage;
    this.outgoing.delete(file);
    this.claims = this.claims.filter((claim) => claim.file !== file);
  }

  #endIfSettled() {
    if (this.unsettled > 0 || this.isOver) return;
    this.isOver = true;
    this.bell.ring();
    this.events.onDone();
  }

  /** How many files have this end. @param {"confirmed" | "skipped" | "withdrawn"} stage */
  count(stage) {
    return this.stages.filter((of) => of === stage).length;
  }

  /** @param {Frame} frame */
  #tell(frame) {
    if (this.isUp) this.events.send(frame);
  }

  /** Ends without a word. */
  stop() {
    this.isOver = true;
    this.bell.ring();
  }

  /** The connection is lost: what was under way is void, and nothing is said on another before the receiver has. */
  lost() {
    this.isUp = false;
    this.connection++;
    this.wishes = [];
    this.claims = [];
    [this.limit, this.sent] = [0, 0];
    this.isAccepted = false;
    for (const outgoing of this.outgoing.values()) outgoing.open = 0;
    this.bell.ring();
  }

  /** There is a new connection, and the receiver has said first where it stands. @param {number} entries */
  resumed(entries) {
    if (this.isUp) throw violation("a message came out of turn");
    if (entries > this.entries.length) throw violation("it has more than was offered");
    this.isUp = true;
    if (entries === 0) this.#forget();
    const withdrawn = this.stages.flatMap((stage, file) => (stage === "withdrawn" && file < entries ? [file] : []));
    if (withdrawn.length > 0) {
      this.#tell({ type: "withdraw", files: withdrawn.map((file) => [file, file + 1]) });
    }
    this.#offer(entries);
    this.bell.ring();
  }

  /** The receiver was started anew. */
  #forget() {
    this.bytes = 0;
    this.stages = this.stages.map((stage) => (stage === "withdrawn" ? stage : "offered"));
    this.unsettled = this.stages.filter((stage) => stage === "offered").length;
  }

  /** Answers wishes and claims until everything is over; reads ahead of what it sends. */
  async #run() {
    /** @type {{ size: number, loaded: Promise<Loaded> }[]} */
    const ahead = [];
    try {
      while (!this.isOver) {
        this.#readAhead(ahead);
        const first = ahead.shift();
        if (first) await this.#send(await first.loaded);
        else await this.bell.heard();
      }
    } catch (error) {
      if (!this.isOver) this.events.onFailed(error);
    }
  }

  /** @param {{ size: number, loaded: Promise<Loaded> }[]} ahead */
  #readAhead(ahead) {
    let bytes = ahead.reduce((sum, { size }) => sum + size, 0);
    while (ahead.length < MOST_AHEAD && bytes < BYTES_AHEAD) {
      const job = this.#next();
      if (!job) return;
      const size = job.chunk < 0 ? 0 : (this.outgoing.get(job.file)?.chunking.length(job.chunk) ?? 0);
      ahead.push({ size, loaded: this.#load(job, this.connection) });
      bytes += size;
    }
  }

  /** The next chunk to be read; claims first, which cost nothing when they are right. @returns {Job | undefined} */
  #next() {
    const claim = this.claims.shift();
    if (claim) return { file: claim.file, chunk: claim.chunk, claimed: claim.hash };
    for (let wish; (wish = this.wishes[0]); ) {
      const [file, end] = wish.files;
      if (end - file > 1) {
        this.#split(wish);
        continue;
      }
      const outgoing = this.outgoing.get(file);
      if (outgoing && wish.chunks[0] < Math.min(wish.chunks[1], outgoing.chunking.count)) {
        return { file, chunk: wish.chunks[0]++ };
      }
      this.wishes.shift();
      // What was read last is still to be sent.
      if (outgoing) return { file, chunk: -1 };
    }
    return undefined;
  }

  /** Takes the first file off a wish for several. @param {Wanted} wish */
  #split(wish) {
    const [file] = wish.files;
    wish.files = [file + 1, wish.files[1]];
    this.#begin(file) && this.wishes.unshift({ files: [file, file + 1], chunks: [0, TO_THE_END] });
    if (wish.files[1] - wish.files[0] === 1 && !this.#begin(wish.files[0])) {
      this.wishes.splice(this.wishes.indexOf(wish), 1);
    }
  }

  /** Whether a file of a wish for several is still to be sent. @param {number} file */
  #begin(file) {
    const isWanted = this.entries[file].kind !== "directory" && ["offered", "finished"].includes(this.stages[file]);
    if (!isWanted) return false;
    this.stages[file] = "offered";
    this.#outgoingOf(file).open++;
    return true;
  }

  /** @param {Job} job @param {number} connection that wants it @returns {Promise<Loaded>} */
  async #load(job, connection) {
    const { file, chunk } = job;
    const nothing = { ...job, connection, bytes: undefined, hash: undefined };
    const chunking = this.outgoing.get(file)?.chunking;
    if (chunk < 0 || !chunking) return nothing;
    try {
      const bytes = await this.events.read(file, chunking.start(chunk), chunking.length(chunk));
      return { ...nothing, bytes, hash: await hashChunk(bytes) };
    } catch {
      return nothing;
    }
  }

  /** @param {Loaded} loaded */
  async #send(loaded) {
    const { connection, file, chunk, claimed, bytes, hash } = loaded;
    const outgoing = this.outgoing.get(file);
    if (!outgoing || connection !== this.connection) return;
    if (chunk >= 0) {
      if (!bytes || !hash) return this.#withdraw(file);
      const isHere = claimed !== undefined && equal(claimed, hash);
      if (isHere) this.bytes += bytes.length;
      else if (!(await this.#sendBytes(file, chunk, bytes))) return;
      if (this.connection !== connection) return;
      await this.events.sendData(writeFrame({ type: "hashes", hashes: [{ file, chunk, hash }] }));
      if (this.connection !== connection || this.isOver) return;
      this.events.onProgress();
      outgoing.known += outgoing.hashes[chunk] === undefined ? 1 : 0;
      outgoing.hashes[chunk] = hash;
    }
    if (chunk < 0 || claimed !== undefined) outgoing.open--;
    this.#finishIfAnswered(file, outgoing);
  }

  /** Whether all of it could be sent on this connection. @param {number} file @param {number} chunk @param {Bytes} bytes */
  async #sendBytes(file, chunk, bytes) {
    const { connection } = this;
    for (let offset = 0; offset < bytes.length; ) {
      const part = bytes.subarray(offset, offset + this.payload);
      while (this.sent + part.length > this.limit) {
        await this.bell.heard();
        if (this.isOver || connection !== this.connection) return false;
      }
      this.sent += part.length;
      await this.events.sendData(concat([DATA, u32s(file, chunk, offset, part.length), part]));
      if (this.isOver || connection !== this.connection || !this.outgoing.has(file)) return false;
      offset += part.length;
      this.bytes += part.length;
      this.events.onProgress();
    }
    return true;
  }

  /** @param {number} file @param {Outgoing} outgoing */
  #finishIfAnswered(file, outgoing) {
    if (outgoing.open > 0 || outgoing.known < outgoing.chunking.count || this.stages[file] !== "offered") return;
    this.stages[file] = "finished";
    const digest = tree(outgoing.hashes);
    this.#tell({ type: "fin", files: [{ file, size: this.entries[file].size, digest }] });
  }

  /** A file that cannot be read any more, or has changed. @param {number} file */
  #withdraw(file) {
    this.#settle(file, "withdrawn");
    this.#tell({ type: "withdraw", files: [[file, file + 1]] });
    this.#endIfSettled();
  }
}
