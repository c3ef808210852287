/**
 * Why something that a person began has ended; `src/ui/words.js` has the sentences.
 *
 * @import { Reason } from "../proto/reason.js"
 * @typedef {"unreachable" | "no-such-code" | "busy" | "expired" | "wrong-code" | "vanished" | "version"
 *   | "tampered" | "no-path" | "path-lost" | "protocol" | "verification" | "disk" | "page" | "too-large"
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

/** What happens to files: when the browser cannot do it, the disk is to blame. @template T @param {Promise<T>} promise @returns {Promise<T>} */
export const onDisk = (promise) =>
  promise.catch((error) => {
    throw error instanceof Failure ? error : new Failure("disk", { detail: String(error) });
  });

/** What was thrown, as a person is to hear it; what nobody has foreseen is this page's own mistake. @param {unknown} error @returns {Failure} */
export function failureOf(error) {
  if (error instanceof Failure) return error;
  if (!(error instanceof Refused)) return new Failure("page", { detail: String(error) });
  if (error.kind.startsWith("name-") || error.kind.startsWith("path-")) return new Failure("unsafe-name");
  if (error.kind === "wrong-code" || error.kind === "version" || error.kind === "verification") {
    return new Failure(error.kind);
  }
  if (error.kind === "not-opened" || error.kind === "not-bound") return new Failure("tampered");
  return new Failure("protocol", { detail: error.message });
}
