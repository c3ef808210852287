/**
 * What the PAKE, and a meeting after a lost path, give: keys by their purpose. PROTOCOL.md, "Keys"
 * and "Greetings".
 *
 * @import { Bytes } from "./bytes.js"
 * @typedef {"sender" | "receiver"} Role
 * @typedef {{ nonce: Bytes, tag: Bytes }} Greeting
 */

import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal, hex, random, utf8 } from "./bytes.js";
import { CRITICAL, Fields, Refused, array, field, join } from "./wire.js";
import { WORDS } from "./words.js";

/** @param {Role} role @returns {Role} */
export const peerOf = (role) => (role === "sender" ? "receiver" : "sender");

/** @param {Bytes} key @param {Bytes} message */
export const authenticate = (key, message) => /** @type {Bytes} */ (hmac(sha256, key, message));

/** The keys of one connection. */
export class Keys {
  /** @param {Bytes} transcript @param {Bytes} secret */
  constructor(transcript, secret) {
    this.transcript = transcript;
    const key = (/** @type {string} */ purpose) =>
      /** @type {Bytes} */ (hkdf(sha256, secret, transcript, utf8(`p2pshare/1 ${purpose}`), 32));
    /** @type {Record<Role, Bytes>} */
    this.confirm = { sender: key("confirm sender"), receiver: key("confirm receiver") };
    /** @type {Record<Role, Bytes>} */
    this.seal = { sender: key("seal sender"), receiver: key("seal receiver") };
    this.channelBinding = key("channel binding");
    this.reconnectRoom = key("reconnect room");
    this.reconnectKey = key("reconnect key");
    this.verifier = key("verifier");
  }

  /** Those with which an end that was started anew meets the other. @param {Bytes} room @param {Bytes} key */
  static again(room, key) {
    const keys = new Keys(random(32), random(32));
    keys.reconnectRoom = room;
    keys.reconnectKey = key;
    return keys;
  }

  /** What proves that an end has these keys. @param {Role} role */
  confirmation(role) {
    return authenticate(this.confirm[role], join("p2pshare/1 confirm", role, this.transcript));
  }

  /** Four words for people to compare. */
  verifierWords() {
    const view = new DataView(this.verifier.buffer, this.verifier.byteOffset);
    return [0, 1, 2, 3].map((word) => WORDS[view.getUint16(2 * word) % WORDS.length]);
  }

  /** The room in which both ends meet again. */
  reconnectRoomName() {
    return hex(this.reconnectRoom);
  }

  /** @param {Role} role @param {Bytes} nonce */
  greetingTag(role, nonce) {
    return authenticate(this.reconnectKey, greetingCovers(role, nonce));
  }

  /** This end's word when both are back. @param {Role} role @param {Bytes} nonce @returns {Bytes} */
  greeting(role, nonce) {
    return concat([field(NONCE, nonce), field(TAG, this.greetingTag(role, nonce))]);
  }

  /** The nonce of a peer's greeting. @param {Role} role of the peer @param {Bytes} bytes */
  checkGreeting(role, bytes) {
    const fields = new Fields(bytes);
    const [nonce, tag] = [fields.required(NONCE, array(16)), fields.required(TAG, array(32))];
    fields.finish();
    if (!equal(tag, this.greetingTag(role, nonce))) throw new Refused("not-bound");
    return nonce;
  }

  /** The keys of the next connection. @param {Bytes} senderNonce @param {Bytes} receiverNonce */
  renewed(senderNonce, receiverNonce) {
    const transcript = /** @type {Bytes} */ (sha256(join("p2pshare/1 reunion", senderNonce, receiverNonce)));
    const keys = new Keys(transcript, this.reconnectKey);
    keys.reconnectRoom = this.reconnectRoom;
    keys.reconnectKey = this.reconnectKey;
    return keys;
  }
}

const NONCE = CRITICAL | 1;
const TAG = CRITICAL | 2;

/** @param {Role} role @param {Bytes} nonce */
export const greetingCovers = (role, nonce) => join("p2pshare/1 greeting", role, nonce);
