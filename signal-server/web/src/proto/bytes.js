/**
 * Bytes and text: what every other module here is made of.
 *
 * @typedef {Uint8Array<ArrayBuffer>} Bytes
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {string} text @returns {Bytes} */
export const utf8 = (text) => encoder.encode(text);

/** Throws when the bytes are not UTF-8. @param {Bytes} bytes */
export const text = (bytes) => decoder.decode(bytes);

/** @param {Iterable<Bytes>} parts @returns {Bytes} */
export function concat(parts) {
  const list = [...parts];
  const whole = new Uint8Array(list.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of list) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The same of parts that nobody changes: one alone is not copied. @param {Bytes[]} parts */
export const joined = (parts) => (parts.length === 1 ? parts[0] : concat(parts));

/** @param {Bytes} bytes */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {string} digits @returns {Bytes} */
export const unhex = (digits) =>
  Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** @param {Bytes} bytes */
export function base64(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Standard alphabet with padding, and nothing else; `undefined` when it is not. @param {string} encoded */
export function unbase64(encoded) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded)) return undefined;
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  return base64(bytes) === encoded ? bytes : undefined;
}

/**
 * Compares secrets: how long it takes does not depend on where they differ.
 *
 * @param {Bytes} left @param {Bytes} right
 */
export function equal(left, right) {
  let difference = left.length ^ right.length;
  for (let i = 0; i < left.length; i++) difference |= left[i] ^ (right[i] ?? 0);
  return difference === 0;
}

/** @param {number} length @returns {Bytes} */
export const random = (length) => crypto.getRandomValues(new Uint8Array(length));
