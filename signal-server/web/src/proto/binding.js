/**
 * The first frame of every lane: proves that whoever ran the PAKE is at the other end of this very
 * connection. PROTOCOL.md, "Channel binding".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Role } from "./keys.js"
 * @typedef {{ sender: Bytes, receiver: Bytes }} Fingerprints
 * @typedef {{ type: "hello", lane: number, generation: number, nonce: Bytes, tag: Bytes, verify: boolean }} Hello
 */

import { equal } from "./bytes.js";
import { authenticate } from "./keys.js";
import { Refused, bigEndian, join, u32s } from "./wire.js";

/** The control channel. */
export const CONTROL = 0;
/** The first data lane. */
export const FIRST_DATA = 1;

/** Binds lanes to both certificates and the transcript. */
export class Binding {
  /** @param {Bytes} key @param {Bytes} transcript @param {Fingerprints} fingerprints @param {number} [generation] */
  constructor(key, transcript, fingerprints, generation = 0) {
    this.generation = generation;
    this.key = key;
    this.transcript = transcript;
    this.fingerprints = fingerprints;
  }

  /** @param {Role} role of the end that speaks @param {Omit<Hello, "type" | "tag">} hello */
  covers(role, { lane, generation, nonce, verify }) {
    const { sender, receiver } = this.fingerprints;
    return join(
      "p2pshare/1 channel binding",
      role,
      u32s(lane),
      u32s(generation),
      nonce,
      bigEndian(verify ? 1 : 0, 1),
      sender,
      receiver,
      this.transcript,
    );
  }

  /** @param {Role} role @param {number} lane @param {Bytes} nonce @param {boolean} verify @returns {Hello} */
  hello(role, lane, nonce, verify) {
    const hello = { lane, generation: this.generation, nonce, verify };
    return { type: "hello", ...hello, tag: authenticate(this.key, this.covers(role, hello)) };
  }

  /** @param {Role} role of the peer @param {number} lane that it arrived on @param {Hello} hello */
  check(role, lane, hello) {
    const fits = hello.lane === lane && hello.generation === this.generation;
    if (!fits || !equal(hello.tag, authenticate(this.key, this.covers(role, hello)))) {
      throw new Refused("not-bound");
    }
  }
}
