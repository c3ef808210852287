/**
 * Numbers in network byte order and fields of tag, length and value: PROTOCOL.md, "Bytes".
 *
 * @import { Bytes } from "./bytes.js"
 */

import { concat, text, utf8 } from "./bytes.js";

/** Set in a tag or type that may not be passed over. */
export const CRITICAL = 0x8000;

/** The largest number on the wire; also the largest that JavaScript holds exactly. */
export const MAX_NUMBER = Number.MAX_SAFE_INTEGER;

/** Something that an end does not take; `kind` is one of PROTOCOL.md, "Refusals". */
export class Refused extends Error {
  /** @param {string} kind @param {string} [detail] */
  constructor(kind, detail) {
    super(detail ? `${kind}: ${detail}` : kind);
    this.kind = kind;
  }
}

/** Takes numbers and bytes from the front. */
export class Reader {
  /** @param {Bytes} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  get isEmpty() {
    return this.at === this.bytes.length;
  }

  /** @param {number} count @returns {Bytes} */
  take(count) {
    if (this.bytes.length - this.at < count) throw new Refused("truncated");
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  u8() {
    return this.take(1)[0];
  }

  u16() {
    this.take(2);
    return this.view.getUint16(this.at - 2);
  }

  u32() {
    this.take(4);
    return this.view.getUint32(this.at - 4);
  }

  u64() {
    const number = this.u32() * 2 ** 32 + this.u32();
    if (number > MAX_NUMBER) throw new Refused("out-of-range");
    return number;
  }
}

/**
 * Makes a reader of whole values from one that takes a value from the front.
 *
 * @template T
 * @param {(reader: Reader) => T} take
 * @returns {(value: Bytes) => T}
 */
const whole = (take) => (value) => {
  const reader = new Reader(value);
  const taken = take(reader);
  if (!reader.isEmpty) throw new Refused("trailing");
  return taken;
};

/** Kinds of value: each reads one from all the bytes of a field. */
export const u8 = whole((reader) => reader.u8());
export const u16 = whole((reader) => reader.u16());
export const u32 = whole((reader) => reader.u32());
export const u64 = whole((reader) => reader.u64());
export const mark = whole(() => true);

/** @param {Bytes} value */
export const raw = (value) => value;

/** @param {number} count */
export const array = (count) => whole((reader) => reader.take(count));

/** @param {Bytes} value */
export function string(value) {
  try {
    return text(value);
  } catch {
    throw new Refused("out-of-range", "text that is not UTF-8");
  }
}

/** The fields of a message, each asked for by its tag. */
export class Fields {
  /** @param {Bytes} bytes */
  constructor(bytes) {
    const reader = new Reader(bytes);
    /** @type {[number, Bytes][]} */
    this.left = [];
    while (!reader.isEmpty) this.left.push([reader.u16(), reader.take(reader.u16())]);
  }

  /**
   * @template T
   * @param {number} tag @param {(value: Bytes) => T} read
   * @returns {T[]}
   */
  all(tag, read) {
    const mine = this.left.filter(([of]) => of === tag);
    this.left = this.left.filter(([of]) => of !== tag);
    return mine.map(([, value]) => read(value));
  }

  /**
   * @template T
   * @param {number} tag @param {(value: Bytes) => T} read
   * @returns {T | undefined}
   */
  optional(tag, read) {
    const values = this.all(tag, read);
    if (values.length > 1) throw new Refused("repeated-field");
    return values[0];
  }

  /**
   * @template T
   * @param {number} tag @param {(value: Bytes) => T} read
   * @returns {T}
   */
  required(tag, read) {
    const value = this.optional(tag, read);
    if (value === undefined) throw new Refused("missing-field");
    return value;
  }

  /** Ends the reading: what is left was asked for by nobody. */
  finish() {
    if (this.left.some(([tag]) => tag & CRITICAL)) throw new Refused("unknown-critical-field");
  }
}

/** @param {number} number @param {number} width in bytes @returns {Bytes} */
export function bigEndian(number, width) {
  const bytes = new Uint8Array(width);
  for (let at = width - 1, rest = number; at >= 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  return bytes;
}

/** @param {number[]} numbers @returns {Bytes} */
export const u32s = (...numbers) => concat(numbers.map((number) => bigEndian(number, 4)));

/** @param {number} tag @param {Bytes} value @returns {Bytes} */
export const field = (tag, value) => concat([bigEndian(tag, 2), bigEndian(value.length, 2), value]);

/** @param {number} tag @param {number} number @param {number} width in bytes */
export const numberField = (tag, number, width) => field(tag, bigEndian(number, width));

/** @param {number} type @param {Bytes[]} body @returns {Bytes} */
export const typed = (type, ...body) => concat([bigEndian(type, 2), ...body]);

/**
 * Joins parts so that no two different lists give the same bytes; for hashes and tags.
 *
 * @param {(Bytes | string)[]} parts
 */
export const join = (...parts) =>
  concat(
    parts.flatMap((part) => {
      const bytes = typeof part === "string" ? utf8(part) : part;
      return [bigEndian(bytes.length, 4), bytes];
    }),
  );
