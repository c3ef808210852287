/** Why an end gives up: PROTOCOL.md, "Cancel". A reason's number is its place here. */
export const REASONS = /** @type {const} */ ([
  "other",
  "interrupted",
  "declined",
  "disk",
  "source-changed",
  "verification",
  "unsafe-name",
  "protocol",
  "target-exists",
  "no-path",
]);

/** @typedef {typeof REASONS[number]} Reason */

/** @param {number} code @returns {Reason} */
export const reasonOf = (code) => REASONS[code] ?? "other";

/** @param {Reason} reason */
export const codeOf = (reason) => REASONS.indexOf(reason);
