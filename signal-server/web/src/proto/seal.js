/**
 * Sealed signalling: what the server and the network can neither read nor change. PROTOCOL.md,
 * "Sealed signalling".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Role } from "./keys.js"
 */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";

import { concat } from "./bytes.js";
import { Refused, bigEndian, join } from "./wire.js";

const STEP = 1024;
export const MAX_SEALED_PAYLOAD = 10238;

/** The bytes of the tag that ChaCha20-Poly1305 adds. */
const TAG = 16;

/** One direction, from either end's view: messages in the order of their counters. */
export class Direction {
  /** @param {Bytes} key @param {Role} role of the end that speaks */
  constructor(key, role) {
    this.key = key;
    this.role = role;
    this.counter = 0;
    this.broken = false;
  }

  #cipher() {
    const counter = bigEndian(this.counter, 8);
    const nonce = concat([new Uint8Array(4), counter]);
    return chacha20poly1305(this.key, nonce, join("p2pshare/1 signal", this.role, counter));
  }

  /** @param {Bytes} payload @returns {Bytes} */
  seal(payload) {
    if (payload.length > MAX_SEALED_PAYLOAD) throw new Refused("too-long");
    const plain = new Uint8Array(Math.ceil((2 + payload.length) / STEP) * STEP);
    plain.set(bigEndian(payload.length, 2));
    plain.set(payload, 2);
    const box = this.#cipher().encrypt(plain);
    this.counter++;
    return /** @type {Bytes} */ (box);
  }

  /** Nothing opens after something that did not. @param {Bytes} box @returns {Bytes} */
  open(box) {
    try {
      if (this.broken || box.length < TAG) throw new Error("not opened");
      const plain = /** @type {Bytes} */ (this.#cipher().decrypt(box));
      const length = plain[0] * 256 + plain[1];
      if (!(length <= plain.length - 2)) throw new Error("not opened");
      this.counter++;
      return plain.slice(2, 2 + length);
    } catch {
      this.broken = true;
      throw new Refused("not-opened");
    }
  }
}
