/**
 * Codes: what a person reads out, types or opens as a link. PROTOCOL.md, "Codes" and "Where to
 * meet".
 *
 * @typedef {{ nameplate: string, password: string }} Code
 * @typedef {"unsaid" | { host: string, port: number | null } | { link: string }} Place
 */

import { utf8 } from "./bytes.js";
import { Refused } from "./wire.js";
import { WORDS } from "./words.js";

export const MIN_WORDS = 3;
export const MAX_WORDS = 10;
const MAX_CODE_TEXT = 1024;

/** How many letters of a word tell it from every other. */
const UNIQUE_PREFIX = 3;

/** @param {string} typed */
function mistyped(typed) {
  const letters = [...typed];
  const near = WORDS.filter((word) => isOneMistake([...word], letters));
  return near.length === 1 ? near[0] : undefined;
}

/**
 * Whether two texts differ by one letter left out, added or changed, or two neighbours swapped.
 *
 * @param {string[]} left @param {string[]} right
 */
function isOneMistake(left, right) {
  if (Math.abs(left.length - right.length) > 1) return false;
  let start = 0;
  while (start < left.length && left[start] === right[start]) start++;
  let end = 0;
  const shorter = Math.min(left.length, right.length);
  while (end < shorter - start && left[left.length - 1 - end] === right[right.length - 1 - end]) end++;
  const [mine, theirs] = [left.slice(start, left.length - end), right.slice(start, right.length - end)];
  if (mine.length <= 1 && theirs.length <= 1) return mine.length + theirs.length > 0;
  return mine.length === 2 && theirs.length === 2 && mine[0] === theirs[1] && mine[1] === theirs[0];
}

/** The word that was meant, of the list. @param {string} typed in lower case */
export function meant(typed) {
  if (WORDS.includes(typed)) return typed;
  const begun = typed.length >= UNIQUE_PREFIX && WORDS.find((word) => word.startsWith(typed));
  return begun || mistyped(typed);
}

/** @param {string} nameplate */
export const isLan = (nameplate) => nameplate.startsWith("lan");

/** @param {string} typed @returns {Code} */
export function parseCode(typed) {
  if (utf8(typed).length > MAX_CODE_TEXT) throw new Refused("code-too-long");
  const parts = typed.toLowerCase().split(/[\p{White_Space}-]+/u).filter(Boolean);
  if (parts.length === 0) throw new Refused("code-empty");
  const [nameplate, ...words] = parts;
  if (!/^(?:lan)?[1-9][0-9]{0,6}$/.test(nameplate)) throw new Refused("code-nameplate");
  if (words.length < MIN_WORDS || words.length > MAX_WORDS) throw new Refused("code-word-count");
  const found = words.map(meant);
  const unknown = found.indexOf(undefined);
  // The word itself stays out: it is a part of the secret.
  if (unknown >= 0) throw new Refused("code-unknown-word", `word ${unknown + 1}`);
  return { nameplate, password: found.join("-") };
}

/** A code, and where it says to meet. @param {string} typed @returns {{ code: Code, place: Place }} */
export function parseInvitation(typed) {
  if (utf8(typed).length > MAX_CODE_TEXT) throw new Refused("code-too-long");
  const said = typed.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
  if (said.includes("://")) {
    const [link, code] = cut(said, "#");
    if (code === undefined) throw new Refused("code-missing-in-link");
    return { code: parseCode(code), place: { link } };
  }
  const [code, host] = cut(said, "@");
  return { code: parseCode(code), place: host === undefined ? "unsaid" : parseHost(host) };
}

/** @param {string} whole @param {string} at @returns {[string, string | undefined]} */
function cut(whole, at) {
  const index = whole.indexOf(at);
  return index < 0 ? [whole, undefined] : [whole.slice(0, index), whole.slice(index + at.length)];
}

/** @param {string} said @returns {{ host: string, port: number | null }} */
function parseHost(said) {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/s.exec(said);
  const [, host, digits] = bracketed ?? /** @type {RegExpExecArray} */ (/^([^:]*)(?::(.*))?$/s.exec(said));
  const isPlain = /^[A-Za-z0-9._:%-]+$/.test(host) && (bracketed !== null || !said.startsWith("["));
  const port = digits ? Number(/^[0-9]+$/.test(digits) ? digits : NaN) : null;
  if (!isPlain || (port !== null && !(port >= 1 && port <= 65535))) throw new Refused("code-host");
  return { host, port };
}

/**
 * Words picked with the same chance each, joined by hyphens.
 *
 * @param {number} count @param {() => number} random numbers of 32 bits
 */
export function generatePassword(count, random) {
  const words = [];
  while (words.length < count) {
    // 11 bits hold 2,048 numbers; those past the list are drawn again, so none is favoured.
    const word = WORDS[random() & 0x7ff];
    if (word !== undefined) words.push(word);
  }
  return words.join("-");
}

/** @param {Code} code */
export const reveal = ({ nameplate, password }) => `${nameplate}-${password}`;
