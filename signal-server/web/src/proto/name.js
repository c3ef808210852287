/**
 * Names of files: none that could escape the folder it is for. PROTOCOL.md, "Names".
 */

import { utf8 } from "./bytes.js";
import { Refused } from "./wire.js";

const MAX_COMPONENT = 255;
const MAX_DEPTH = 64;
const MAX_PATH = 4096;

/** Throws when a name is hostile. @param {string} name */
function checkName(name) {
  if (name === "") throw new Refused("name-empty");
  if (name === "." || name === "..") throw new Refused("name-dots");
  if (name.includes("/")) throw new Refused("name-separator");
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) throw new Refused("name-control");
  if (utf8(name).length > MAX_COMPONENT) throw new Refused("name-too-long");
}

/** Throws when a path could escape. @param {string[]} path */
export function checkPath(path) {
  path.forEach(checkName);
  if (path.length === 0 || path.length > MAX_DEPTH) throw new Refused("path-depth");
  const length = path.reduce((sum, name) => sum + utf8(name).length + 1, 0);
  if (length > MAX_PATH) throw new Refused("path-too-long");
}

/** A name as a person may see it: what has no shape of its own becomes `\u{..}`. @param {string} name */
export const shown = (name) =>
  name.replace(
    /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u034f]/gu,
    (character) => `\\u{${/** @type {number} */ (character.codePointAt(0)).toString(16)}}`,
  );

const DEVICE = /^(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[1-9¹²³])$/;

/**
 * A name that every file system holds, from one that some do not: what is not portable becomes `_`.
 *
 * @param {string} name
 */
export function portable(name) {
  const plain = name.replace(/[\\:*?"<>|]/g, "_").replace(/[. ]+$/, (tail) => "_".repeat(tail.length));
  return DEVICE.test(plain.split(".")[0].trimEnd().toUpperCase()) ? `_${plain}` : plain;
}
