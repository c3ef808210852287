/**
 * Between the browser's SDP and the few values of it that travel. PROTOCOL.md, "SDP".
 *
 * @import { Candidate, CandidateKind, Description, Setup } from "../proto/signal.js"
 */

import { hex, unhex } from "../proto/bytes.js";
import { LANE_DATA_CHANNEL } from "../proto/signal.js";
import { Refused } from "../proto/wire.js";

const DEFAULT_MAX_MESSAGE_SIZE = 65536;

/** The first line of a name. @param {string} sdp @param {string} name */
const line = (sdp, name) => new RegExp(`^a=${name}:(.*?)\r?$`, "m").exec(sdp)?.[1].trim();

/** @param {string} sdp of this end's browser @returns {Description} */
export function parse(sdp) {
  const [ufrag, password, setup] = ["ice-ufrag", "ice-pwd", "setup"].map((name) => line(sdp, name));
  const [algorithm, digits] = line(sdp, "fingerprint")?.split(" ") ?? [];
  const port = line(sdp, "sctp-port");
  if (!ufrag || !password || !setup || !port || algorithm?.toLowerCase() !== "sha-256") {
    throw new Refused("missing-field", "the browser's description");
  }
  return {
    type: "description",
    ufrag,
    password,
    fingerprint: unhex(digits.replaceAll(":", "")),
    setup: /** @type {Setup} */ (setup),
    maxMessageSize: Math.min(Number(line(sdp, "max-message-size") ?? DEFAULT_MAX_MESSAGE_SIZE), 0xffffffff),
    sctpPort: Number(port),
    lanes: [LANE_DATA_CHANNEL],
  };
}

/** The peer's description for this end's browser. @param {Description} description */
export function render({ ufrag, password, fingerprint, setup, maxMessageSize, sctpPort }) {
  const lines = [
    "v=0",
    "o=- 1 1 IN IP4 0.0.0.0",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    `a=ice-ufrag:${ufrag}`,
    `a=ice-pwd:${password}`,
    "a=ice-options:trickle",
    `a=fingerprint:sha-256 ${hex(fingerprint).toUpperCase().match(/../g)?.join(":")}`,
    `a=setup:${setup}`,
    "a=mid:0",
    "a=sendrecv",
    `a=sctp-port:${sctpPort}`,
    `a=max-message-size:${maxMessageSize}`,
  ];
  return lines.map((text) => `${text}\r\n`).join("");
}

/** A candidate of this end's browser; `undefined` for one that does not travel. @param {string} text @returns {Candidate | undefined} */
export function parseCandidate(text) {
  const match = /^candidate:(\S+) 1 udp (\d+) (\S+) (\d+) typ (host|srflx|prflx|relay)/i.exec(text);
  if (!match) return undefined;
  const [, foundation, priority, host, port, kind] = match;
  return {
    type: "candidate",
    foundation,
    priority: Number(priority),
    host,
    port: Number(port),
    kind: /** @type {CandidateKind} */ (kind.toLowerCase()),
  };
}

/** @param {Candidate} candidate @returns {RTCIceCandidateInit} */
export function renderCandidate({ foundation, priority, host, port, kind }) {
  const any = host.includes(":") ? "::" : "0.0.0.0";
  const related = kind === "host" ? "" : ` raddr ${any} rport 9`;
  const candidate = `candidate:${foundation} 1 udp ${priority} ${host} ${port} typ ${kind}${related}`;
  return { candidate, sdpMid: "0", sdpMLineIndex: 0 };
}
