/**
 * From a code to keys: the three messages of the PAKE, for both ends, and the wrapping of what is
 * sealed. PROTOCOL.md, "Pairing".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Code } from "./code.js"
 * @typedef {{ type: "share", hello: Bytes, element: Bytes }} Share
 * @typedef {{ type: "reply", hello: Bytes, element: Bytes, tag: Bytes }} Reply
 * @typedef {{ type: "confirmation", tag: Bytes }} Confirmation
 * @typedef {{ type: "sealed", box: Bytes }} Sealed
 * @typedef {Share | Reply | Confirmation | Sealed} Message
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { equal, utf8 } from "./bytes.js";
import { generator, scalarOf, sessionKey, share, sharedPoint } from "./cpace.js";
import { Keys } from "./keys.js";
import { CRITICAL, Fields, Reader, Refused, array, field, join, numberField, raw, typed, u16 } from "./wire.js";

const VERSION = 1;
const SHARE = CRITICAL | 1;
const REPLY = CRITICAL | 2;
const CONFIRMATION = CRITICAL | 3;
const SEALED = CRITICAL | 4;

const HELLO = CRITICAL | 1;
const ELEMENT = CRITICAL | 2;
const TAG = CRITICAL | 3;
const BOX = CRITICAL | 4;

/** The tag of `version` in a hello. */
const VERSIONS = CRITICAL | 1;

/** What this end says of itself. */
export const OWN_HELLO = numberField(VERSIONS, VERSION, 2);

/** @param {Message} message @returns {Bytes} */
export function writeMessage(message) {
  switch (message.type) {
    case "share":
      return typed(SHARE, field(HELLO, message.hello), field(ELEMENT, message.element));
    case "reply":
      return typed(
        REPLY,
        field(HELLO, message.hello),
        field(ELEMENT, message.element),
        field(TAG, message.tag),
      );
    case "confirmation":
      return typed(CONFIRMATION, field(TAG, message.tag));
    case "sealed":
      return typed(SEALED, field(BOX, message.box));
  }
}

/** @param {Bytes} bytes @returns {Message} */
export function readMessage(bytes) {
  const reader = new Reader(bytes);
  const type = reader.u16();
  if (![SHARE, REPLY, CONFIRMATION, SEALED].includes(type)) throw new Refused("unknown-critical-type");
  const fields = new Fields(bytes.subarray(2));
  const message = readFields(type, fields);
  fields.finish();
  return message;
}

/** @param {number} type @param {Fields} fields @returns {Message} */
function readFields(type, fields) {
  const hello = () => fields.required(HELLO, raw);
  const element = () => fields.required(ELEMENT, array(32));
  const tag = () => fields.required(TAG, array(32));
  if (type === SHARE) return { type: "share", hello: hello(), element: element() };
  if (type === REPLY) return { type: "reply", hello: hello(), element: element(), tag: tag() };
  if (type === CONFIRMATION) return { type: "confirmation", tag: tag() };
  return { type: "sealed", box: fields.required(BOX, raw) };
}

/** Refuses a peer that does not speak this version. @param {Bytes} hello */
function checkHello(hello) {
  const fields = new Fields(hello);
  const versions = fields.all(VERSIONS, u16);
  fields.finish();
  if (!versions.includes(VERSION)) throw new Refused("version");
}

/** @param {string} nameplate */
export const channelIdentifier = (nameplate) => join("p2pshare/1", "sender", "receiver", nameplate);

/** @param {Code} code @param {string} slot */
const generatorOf = ({ nameplate, password }, slot) =>
  generator(utf8(password), channelIdentifier(nameplate), utf8(slot));

/**
 * A peer's element that is none looks like a wrong code, which it may be.
 *
 * @param {Bytes} element @param {bigint} scalar
 */
function shared(element, scalar) {
  try {
    return sharedPoint(element, scalar);
  } catch {
    throw new Refused("wrong-code");
  }
}

/**
 * @param {string} nameplate @param {string} slot @param {string} room
 * @param {Bytes} point @param {Pick<Share, "hello" | "element">} sender @param {Pick<Share, "hello" | "element">} receiver
 */
function keysOf(nameplate, slot, room, point, sender, receiver) {
  const transcript = sha256(
    join(
      "p2pshare/1 transcript",
      nameplate,
      slot,
      room,
      sender.hello,
      receiver.hello,
      sender.element,
      receiver.element,
    ),
  );
  const secret = sessionKey(
    utf8(slot),
    point,
    [sender.element, sender.hello],
    [receiver.element, receiver.hello],
  );
  return new Keys(/** @type {Bytes} */ (transcript), secret);
}

/** The sender, from its code to the confirmation. */
export class Waiting {
  /** @param {Code} code @param {string} slot @param {Bytes} random 64 bytes */
  constructor(code, slot, random) {
    this.nameplate = code.nameplate;
    this.slot = slot;
    this.scalar = scalarOf(random);
    /** @type {Share} */
    this.share = { type: "share", hello: OWN_HELLO, element: share(generatorOf(code, slot), this.scalar) };
  }

  /**
   * Checks that the receiver has the words.
   *
   * @param {string} room @param {Message} reply
   * @returns {{ confirmation: Confirmation, keys: Keys }}
   */
  confirm(room, reply) {
    if (reply.type !== "reply") throw new Refused("out-of-turn");
    checkHello(reply.hello);
    const point = shared(reply.element, this.scalar);
    const keys = keysOf(this.nameplate, this.slot, room, point, this.share, reply);
    if (!equal(keys.confirmation("receiver"), reply.tag)) throw new Refused("wrong-code");
    return { confirmation: { type: "confirmation", tag: keys.confirmation("sender") }, keys };
  }
}

/** The receiver, from the sender's share to the confirmation. */
export class Claiming {
  /**
   * @param {Code} code @param {string} slot @param {string} room @param {Message} message
   * @param {Bytes} random 64 bytes
   */
  constructor(code, slot, room, message, random) {
    if (message.type !== "share") throw new Refused("out-of-turn");
    checkHello(message.hello);
    const scalar = scalarOf(random);
    const mine = { hello: OWN_HELLO, element: share(generatorOf(code, slot), scalar) };
    const point = shared(message.element, scalar);
    this.keys = keysOf(code.nameplate, slot, room, point, message, mine);
    /** @type {Reply} */
    this.reply = { type: "reply", ...mine, tag: this.keys.confirmation("receiver") };
  }

  /** Checks that the sender has the words. @param {Message} message */
  confirmed(message) {
    if (message.type !== "confirmation") throw new Refused("out-of-turn");
    if (!equal(this.keys.confirmation("sender"), message.tag)) throw new Refused("wrong-code");
    return this.keys;
  }
}
