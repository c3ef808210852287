/**
 * What a receiver has from before, on its way to be claimed and answered. PROTOCOL.md, "Claims". So
 * much at once that neither end waits, and so little that an order of files is nearly kept.
 *
 * @import { Bytes } from "./bytes.js"
 * @typedef {{ file: number, chunk: number, length: number }} Held
 *
 * @typedef {object} Kept what is here from before
 * @property {Held[]} held in the order of files and chunks
 * @property {(held: Held) => Promise<Bytes>} read
 * @property {(file: number, position: number, bytes: Bytes) => Promise<void>} restore it goes to where it belongs
 */

/** Claims that wait for an answer, or to be written: how many, and how many bytes they stand for. */
const MOST = 256;
const MOST_BYTES = 16 * 1024 * 1024;

/** A chunk of a file as one number. @param {number} file @param {number} chunk */
export const keyOf = (file, chunk) => file * 2 ** 32 + chunk;

export class Claims {
  /** @param {Held[]} held */
  constructor(held) {
    this.left = held;
    /** Claimed, or about to be; without an answer. @type {Map<number, { held: Held, hash?: Bytes }>} */
    this.open = new Map();
    /** Answered, and not yet where they belong. */
    this.writing = 0;
    this.bytes = 0;
  }

  get isOver() {
    return this.left.length === 0 && this.open.size === 0 && this.writing === 0;
  }

  /** The next to be claimed, if it may be now. */
  next() {
    const [held] = this.left;
    const isBusy = this.open.size + this.writing >= MOST || (this.bytes > 0 && this.bytes + (held?.length ?? 0) > MOST_BYTES);
    if (!held || isBusy) return undefined;
    this.left.shift();
    this.open.set(keyOf(held.file, held.chunk), { held });
    this.bytes += held.length;
    return held;
  }

  /** It is about to be claimed. @param {Held} held @param {Bytes} hash */
  claimed({ file, chunk }, hash) {
    const claim = this.open.get(keyOf(file, chunk));
    if (claim) claim.hash = hash;
  }

  /** It cannot be read, is not wanted, or came anew. @param {number} file @param {number} chunk */
  drop(file, chunk) {
    const claim = this.open.get(keyOf(file, chunk));
    if (claim && this.open.delete(keyOf(file, chunk))) this.bytes -= claim.held.length;
    return claim !== undefined;
  }

  /** The claim that is answered. @param {number} file @param {number} chunk */
  answered(file, chunk) {
    const claim = this.open.get(keyOf(file, chunk));
    if (!claim?.hash) return undefined;
    this.open.delete(keyOf(file, chunk));
    this.writing++;
    return { held: claim.held, hash: claim.hash };
  }

  /** What was claimed is where it belongs. @param {Held} held */
  written({ length }) {
    this.writing--;
    this.bytes -= length;
  }

  /** A file is not wanted. @param {number} file */
  forget(file) {
    this.left = this.left.filter((held) => held.file !== file);
    for (const { held } of [...this.open.values()]) if (held.file === file) this.drop(file, held.chunk);
  }

  /** On a new connection, what has no answer is claimed anew. */
  restart() {
    const open = [...this.open.values()].map(({ held }) => held);
    this.left = [...open, ...this.left];
    for (const { file, chunk } of open) this.drop(file, chunk);
  }
}
