/**
 * CPace with ristretto255 and SHA-512 in the mode of initiator and responder:
 * draft-irtf-cfrg-cpace-21.
 *
 * @import { Bytes } from "./bytes.js"
 */

import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";

import { concat, utf8 } from "./bytes.js";
import { Refused } from "./wire.js";

const { Point } = ristretto255;
const DOMAIN = utf8("CPaceRistretto255");

/** The block of SHA-512, in bytes: the password fills the first one alone. */
const BLOCK = 128;

/** Length in LEB128, then the bytes. @param {Bytes} bytes */
function prefixed(bytes) {
  const length = [];
  let rest = bytes.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return concat([Uint8Array.from(length), bytes]);
}

/** @param {Bytes[]} parts */
const joined = (...parts) => concat(parts.map(prefixed));

/** @param {Bytes} password @param {Bytes} channel @param {Bytes} session */
export function generatorString(password, channel, session) {
  const filled = 1 + prefixed(password).length + prefixed(DOMAIN).length;
  const padding = new Uint8Array(Math.max(0, BLOCK - filled));
  return joined(DOMAIN, password, padding, channel, session);
}

/** @param {Bytes} password @param {Bytes} channel @param {Bytes} session */
export function generator(password, channel, session) {
  const derive = /** @type {(hash: Uint8Array) => InstanceType<typeof Point>} */ (
    ristretto255_hasher.deriveToCurve
  );
  return derive(sha512(generatorString(password, channel, session)));
}

/** 64 random bytes as a little-endian number modulo the order. @param {Bytes} random */
export function scalarOf(random) {
  const number = random.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
  return number % Point.Fn.ORDER;
}

/** @param {InstanceType<typeof Point>} point @param {bigint} scalar @returns {Bytes} */
export const share = (point, scalar) => /** @type {Bytes} */ (point.multiply(scalar).toBytes());

/**
 * What both ends come to share; never the neutral element.
 *
 * @param {Bytes} theirs @param {bigint} scalar
 */
export function sharedPoint(theirs, scalar) {
  const product = decode(theirs).multiply(scalar);
  if (product.equals(Point.ZERO)) throw new Refused("neutral-point");
  return /** @type {Bytes} */ (product.toBytes());
}

/** @param {Bytes} bytes */
function decode(bytes) {
  let point;
  try {
    point = Point.fromBytes(bytes);
  } catch {
    throw new Refused("invalid-point");
  }
  if (point.equals(Point.ZERO)) throw new Refused("neutral-point");
  return point;
}

/**
 * @param {Bytes} session @param {Bytes} shared
 * @param {[Bytes, Bytes]} initiator share and associated data
 * @param {[Bytes, Bytes]} responder the same
 */
export function sessionKey(session, shared, initiator, responder) {
  const domain = concat([DOMAIN, utf8("_ISK")]);
  const transcript = concat([joined(...initiator), joined(...responder)]);
  return /** @type {Bytes} */ (sha512(concat([joined(domain, session, shared), transcript])));
}
