/**
 * What travels sealed: descriptions, candidates and the wish to stop. A peer's SDP never reaches
 * the browser; it is made from the few values here. PROTOCOL.md, "Signals".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Reason } from "./reason.js"
 * @typedef {"actpass" | "active" | "passive"} Setup
 * @typedef {object} Description
 * @property {"description"} type
 * @property {string} ufrag
 * @property {string} password
 * @property {Bytes} fingerprint
 * @property {Setup} setup
 * @property {number} maxMessageSize
 * @property {number} sctpPort
 * @property {number[]} lanes
 * @typedef {"host" | "srflx" | "prflx" | "relay"} CandidateKind
 * @typedef {{ type: "candidate", foundation: string, priority: number, host: string, port: number, kind: CandidateKind }} Candidate
 * @typedef {Description | Candidate | { type: "end-of-candidates" } | { type: "cancel", reason: Reason }} Signal
 */

import { concat, utf8 } from "./bytes.js";
import { isPeerAddress } from "./address.js";
import { codeOf, reasonOf } from "./reason.js";
import { CRITICAL, Fields, Refused, array, field, mark, numberField, string, u16, u32, u8 } from "./wire.js";

/** The kind of lane that every end can open. */
export const LANE_DATA_CHANNEL = 1;

/** The most candidates that are taken from a peer. */
export const MAX_CANDIDATES = 32;

const DESCRIPTION = CRITICAL | 1;
const CANDIDATE = 2;
const END_OF_CANDIDATES = 3;
const CANCEL = CRITICAL | 4;

/** @type {Setup[]} */
const SETUPS = ["actpass", "active", "passive"];
/** @type {CandidateKind[]} */
const KINDS = ["host", "srflx", "prflx", "relay"];

/** @param {Signal[]} signals @returns {Bytes} */
export const writeSignals = (signals) => concat(signals.map(writeSignal));

/** @param {Signal} signal */
function writeSignal(signal) {
  switch (signal.type) {
    case "description":
      return field(DESCRIPTION, writeDescription(signal));
    case "candidate":
      return field(CANDIDATE, writeCandidate(signal));
    case "end-of-candidates":
      return field(END_OF_CANDIDATES, new Uint8Array());
    case "cancel":
      return numberField(CANCEL, codeOf(signal.reason), 2);
  }
}

/** In the order in which they are obeyed. @param {Bytes} bytes @returns {Signal[]} */
export function readSignals(bytes) {
  const fields = new Fields(bytes);
  /** @type {Signal[]} */
  const signals = [...fields.all(DESCRIPTION, readDescription), ...fields.all(CANDIDATE, readCandidate)];
  if (fields.optional(END_OF_CANDIDATES, mark)) signals.push({ type: "end-of-candidates" });
  const reason = fields.optional(CANCEL, u16);
  if (reason !== undefined) signals.push({ type: "cancel", reason: reasonOf(reason) });
  fields.finish();
  return signals;
}

/** @param {Description} description */
function writeDescription(description) {
  const { ufrag, password, fingerprint, setup, maxMessageSize, sctpPort, lanes } = description;
  return concat([
    field(CRITICAL | 1, utf8(ufrag)),
    field(CRITICAL | 2, utf8(password)),
    field(CRITICAL | 3, fingerprint),
    numberField(CRITICAL | 4, SETUPS.indexOf(setup), 1),
    numberField(CRITICAL | 5, maxMessageSize, 4),
    numberField(CRITICAL | 6, sctpPort, 2),
    ...lanes.map((lane) => numberField(7, lane, 2)),
  ]);
}

/** @param {Bytes} bytes @returns {Description} */
function readDescription(bytes) {
  const fields = new Fields(bytes);
  /** @type {Description} */
  const description = {
    type: "description",
    ufrag: fields.required(CRITICAL | 1, iceText(4)),
    password: fields.required(CRITICAL | 2, iceText(22)),
    fingerprint: fields.required(CRITICAL | 3, array(32)),
    setup: oneOf(SETUPS, fields.required(CRITICAL | 4, u8)),
    maxMessageSize: fields.required(CRITICAL | 5, u32),
    sctpPort: fields.required(CRITICAL | 6, u16),
    lanes: fields.all(7, u16),
  };
  fields.finish();
  return description;
}

/** @param {Candidate} candidate */
const writeCandidate = ({ foundation, priority, host, port, kind }) =>
  concat([
    field(CRITICAL | 1, utf8(foundation)),
    numberField(CRITICAL | 2, priority, 4),
    field(CRITICAL | 3, utf8(host)),
    numberField(CRITICAL | 4, port, 2),
    numberField(CRITICAL | 5, KINDS.indexOf(kind), 1),
  ]);

/** @param {Bytes} bytes @returns {Candidate} */
function readCandidate(bytes) {
  const fields = new Fields(bytes);
  /** @type {Candidate} */
  const candidate = {
    type: "candidate",
    foundation: fields.required(CRITICAL | 1, iceText(1)),
    priority: fields.required(CRITICAL | 2, u32),
    host: fields.required(CRITICAL | 3, hostText),
    port: fields.required(CRITICAL | 4, u16),
    kind: oneOf(KINDS, fields.required(CRITICAL | 5, u8)),
  };
  fields.finish();
  if (candidate.port === 0 || candidate.foundation.length > 32) throw new Refused("out-of-range");
  return candidate;
}

/** @param {Bytes} value */
function hostText(value) {
  const host = string(value);
  const isHidden = /^[0-9A-Fa-f-]{36}\.local$/.test(host);
  if (!isHidden && !isPeerAddress(host)) throw new Refused("out-of-range");
  return host;
}

/** Characters of ICE user names and passwords, so many at least. @param {number} least */
const iceText = (least) => (/** @type {Bytes} */ value) => {
  const characters = string(value);
  const fits = characters.length >= least && characters.length <= 256;
  if (!fits || !/^[A-Za-z0-9+/]*$/.test(characters)) throw new Refused("out-of-range");
  return characters;
};

/**
 * @template T
 * @param {T[]} values @param {number} index
 */
function oneOf(values, index) {
  if (index >= values.length) throw new Refused("out-of-range");
  return values[index];
}
