/**
 * What the rendezvous server says and is told. PROTOCOL.md, "Rendezvous".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Role } from "./keys.js"
 * @typedef {{ urls: string[], username?: string, credential?: string }} IceServer
 * @typedef {{ type: "allocate", room: string, nameplate: string, ttl: number, claims: 1, body: Bytes }
 *   | { type: "claim", nameplate: string }
 *   | { type: "join", room: string, role: Role }
 *   | { type: "rejoin", room: string, token: string, received: number }
 *   | { type: "send", room: string, number: number, body: Bytes }
 *   | { type: "ack", room: string, number: number }
 *   | { type: "leave", room: string }} Request
 * @typedef {"here" | "gone" | "left"} Presence
 * @typedef {{ type: "allocated", room: string, nameplate: string, token: string, ttl: number }
 *   | { type: "paired", slot: string, room: string, token: string, ice_servers: IceServer[] }
 *   | { type: "claimed", nameplate: string, slot: string, room: string, token: string, body: Bytes, ice_servers: IceServer[] }
 *   | { type: "joined", room: string, token: string }
 *   | { type: "ice-servers", room: string, ice_servers: IceServer[] }
 *   | { type: "rejoined", room: string, received: number }
 *   | { type: "message", room: string, number: number, body: Bytes }
 *   | { type: "peer", room: string, presence: Presence }
 *   | { type: "expired", room: string }
 *   | { type: "refused", room?: string, reason: string }} Reply
 */

import { base64, unbase64, utf8 } from "./bytes.js";
import { MAX_NUMBER, Refused } from "./wire.js";

/** Where the WebSocket is. */
export const PATH = "/v1/rendezvous";
const MAX_MESSAGE = 16384;
const MAX_BODY = 11264;

/** @param {Request} request */
export const writeRequest = (request) =>
  JSON.stringify("body" in request ? { ...request, body: base64(request.body) } : request);

/** @param {string} text @returns {Reply} */
export function readReply(text) {
  if (utf8(text).length > MAX_MESSAGE) throw new Refused("bad-message");
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refused("bad-message");
  }
  const members = REPLIES[/** @type {keyof typeof REPLIES} */ (value?.type)];
  if (typeof value?.type !== "string" || !Object.hasOwn(REPLIES, value.type)) throw new Refused("bad-message");
  /** @type {Record<string, unknown>} */
  const reply = { type: value.type };
  for (const [name, read] of Object.entries(members)) {
    const member = read(value[name]);
    if (member !== undefined) reply[name] = member;
  }
  return /** @type {Reply} */ (/** @type {unknown} */ (reply));
}

/** @param {boolean} isRight @param {unknown} value */
function only(isRight, value) {
  if (!isRight) throw new Refused("bad-message");
  return value;
}

/** @param {RegExp} pattern */
const matching = (pattern) => (/** @type {unknown} */ value) =>
  only(typeof value === "string" && pattern.test(value), value);

const room = matching(/^(?:[0-9a-f]{32}|[0-9a-f]{64})$/);
const token = matching(/^[^]{1,256}$/);
const nameplate = matching(/^(?:lan)?[1-9][0-9]{0,6}$/);
const presence = matching(/^(?:here|gone|left)$/);
const reason = matching(
  /^(?:no-such-code|no-such-room|nameplate-taken|place-taken|full|too-many-rooms|too-much-waiting|gap|bad-message)$/,
);
const number = (/** @type {unknown} */ value) =>
  only(Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_NUMBER, value);

/** @param {unknown} value */
function body(value) {
  const bytes = typeof value === "string" ? unbase64(value) : undefined;
  return only(bytes !== undefined && bytes.length <= MAX_BODY, bytes);
}

/** @param {unknown} value */
function iceServers(value) {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Refused("bad-message");
  return value.map((server) => {
    const urls = server?.urls;
    only(Array.isArray(urls) && urls.every((url) => typeof url === "string"), urls);
    const { username, credential } = server;
    only([username, credential].every((text) => text === undefined || typeof text === "string"), server);
    return { urls, ...(username === undefined ? {} : { username, credential }) };
  });
}

/** The members of each reply, and how each is read. @type {Record<string, Record<string, (value: unknown) => unknown>>} */
const REPLIES = {
  allocated: { room, nameplate, token, ttl: number },
  paired: { slot: room, room, token, ice_servers: iceServers },
  claimed: { nameplate, slot: room, room, token, body, ice_servers: iceServers },
  joined: { room, token },
  "ice-servers": { room, ice_servers: iceServers },
  rejoined: { room, received: number },
  message: { room, number, body },
  peer: { room, presence },
  expired: { room },
  refused: { room: (value) => (value === undefined || value === null ? undefined : room(value)), reason },
};
