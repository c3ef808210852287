/**
 * One order over several lanes: data frames have numbers, and are taken in their order. PROTOCOL.md,
 * "Numbers".
 *
 * @import { Bytes } from "./bytes.js"
 */

import { concat } from "./bytes.js";
import { Reader, Refused, bigEndian } from "./wire.js";

/** Bytes before each frame on a data lane. */
export const NUMBER = 8;
const MAX_AHEAD = 65536;
const MOST_EARLY = 2 * 16 * 1024 * 1024;

/** Takes what lanes bring, in any order. */
export class Inbox {
  constructor() {
    this.next = 0;
    this.held = 0;
    /** @type {Map<number, Bytes>} */
    this.early = new Map();
  }

  /** Gives the frames that are due now, in order. @param {Bytes} message @returns {Bytes[]} */
  take(message) {
    if (message.length < NUMBER) throw new Refused("frame-number");
    const number = new Reader(message).u64();
    if (number >= this.next + MAX_AHEAD) throw new Refused("frame-number");
    if (number < this.next || this.early.has(number)) return [];
    const frame = message.subarray(NUMBER);
    if (number === this.next && this.early.size === 0) {
      this.next++;
      return [frame];
    }
    this.held += frame.length;
    if (this.held > MOST_EARLY) throw new Refused("frame-number");
    this.early.set(number, frame);
    return this.#due();
  }

  #due() {
    const due = [];
    for (let frame; (frame = this.early.get(this.next)); this.next++) {
      this.early.delete(this.next);
      this.held -= frame.length;
      due.push(frame);
    }
    return due;
  }
}

/** A message of a data lane. @param {number} number @param {Bytes} frame */
export const numbered = (number, frame) => concat([bigEndian(number, NUMBER), frame]);
