/**
 * Why something that a person began has ended; `src/ui/words.js` has the sentences.
 *
 * @import { Reason } from "../proto/reason.js"
 * @typedef {"unreachable" | "no-such-code" | "busy" | "expired" | "wrong-code" | "vanished" | "version"
 *   | "tampered" | "no-path" | "path-lost" | "protocol" | "verification" | "disk" | "too-large"
 *   | "interrupted" | "unsafe-name" | "source-changed" | "declined" | "words-differ"} FailureKind
 */

import { Refused } from "../proto/wire.js";

export class Failure extends Error {
  /** @param {FailureKind} kind @param {{ reason?: Reason, detail?: string }} [more] `reason` is the peer's */
  constructor(kind, { reason, detail } = {}) {
    super(detail ?? reason ?? kind);
    this.kind = kind;
    this.reason = reason;
    this.detail = detail;
  }
}

/** What a refusal of the protocol's modules means for a person. @param {unknown} error @returns {Failure} */
export function failureOf(error) {
  if (error instanceof Failure) return error;
  if (!(error instanceof Refused)) return new Failure("disk", { detail: String(error) });
  if (error.kind.startsWith("name-") || error.kind.startsWith("path-")) return new Failure("unsafe-name");
  if (error.kind === "wrong-code" || error.kind === "version" || error.kind === "verification") {
    return new Failure(error.kind);
  }
  if (error.kind === "not-opened" || error.kind === "not-bound") return new Failure("tampered");
  return new Failure("protocol", { detail: error.message });
}
