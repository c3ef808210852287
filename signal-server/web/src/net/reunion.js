/**
 * After a lost path: both ends meet in a room that only they can name, prove that they were there
 * before, and have new keys. PROTOCOL.md, "Reconnect".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Keys, Role } from "../proto/keys.js"
 * @import { Paired } from "./pairing.js"
 */

import { random } from "../proto/bytes.js";
import { peerOf } from "../proto/keys.js";
import { Failure } from "./failure.js";
import { Signalling } from "./pairing.js";
import { Room, pause } from "./socket.js";

/** How long an end looks for the other, in milliseconds: when the path is lost, and when the server saw a sender's socket close. */
export const PATIENCE = 600_000;
export const SENDER_GONE = 10_000;

/** The same for a receiver that was started anew. */
export const STARTED_ANEW = 20_000;

/** The same when the server, which is the sender's own process, is gone. */
const EMBEDDED_GONE = 4_000;

/** The detail of a failure when it was the server that did not answer. */
export const SERVER_AWAY = "the server is away";

/** How long the Greeting may take once the other end is here. */
const GREETING = 15_000;
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;

/**
 * Looks for the other end until it is there.
 *
 * @param {string} url @param {Role} role @param {Keys} keys
 * @param {{ patience: number, isEmbedded: boolean }} how @param {() => boolean} hasEnded
 * @returns {Promise<Paired>}
 */
export async function meetAgain(url, role, keys, { patience, isEmbedded }, hasEnded) {
  const start = performance.now();
  let deadline = start + patience;
  let time = FIRST_PAUSE;
  let isAway = false;
  while (performance.now() < deadline && !hasEnded()) {
    try {
      const room = await Room.join(url, keys.reconnectRoomName(), role);
      time = FIRST_PAUSE;
      isAway = false;
      const paired = await greet(room, role, keys, deadline, hasEnded);
      if (paired) return paired;
    } catch (error) {
      // A greeting that does not fit ends the attempt, and so does a server that is away.
      isAway = error instanceof Failure && error.kind === "unreachable";
      if (isAway && isEmbedded) deadline = Math.min(deadline, start + EMBEDDED_GONE);
    }
    await pause(time);
    time = Math.min(1.5 * time, LONGEST_PAUSE);
  }
  const detail = isAway ? SERVER_AWAY : undefined;
  throw new Failure(deadline < start + PATIENCE ? "vanished" : "path-lost", { detail });
}

/** @param {Room} room @param {Role} role @param {Keys} keys @param {number} deadline @param {() => boolean} hasEnded */
async function greet(room, role, keys, deadline, hasEnded) {
  const mine = random(16);
  try {
    const theirs = await heard(room, role, keys, mine, deadline, hasEnded);
    if (!theirs) return undefined;
    const next = role === "sender" ? keys.renewed(mine, theirs) : keys.renewed(theirs, mine);
    const signalling = new Signalling(room, next, role);
    return { keys: next, signalling, iceServers: room.iceServers };
  } catch (error) {
    room.leave();
    throw error;
  }
}

/** The peer's nonce. @param {Room} room @param {Role} role @param {Keys} keys @param {Bytes} mine @param {number} deadline @param {() => boolean} hasEnded */
async function heard(room, role, keys, mine, deadline, hasEnded) {
  let [hasGreeted, until] = [false, deadline];
  for (;;) {
    const late = pause(Math.min(until - performance.now(), 1000)).then(() => /** @type {const} */ ("late"));
    const taken = room.events.take();
    let event = await Promise.race([taken, late]);
    while (event === "late" && performance.now() < until && !hasEnded()) {
      event = await Promise.race([taken, pause(1000).then(() => /** @type {const} */ ("late"))]);
    }
    if (event === "here" && !hasGreeted) {
      hasGreeted = true;
      until = performance.now() + GREETING;
      room.say(keys.greeting(role, mine));
    } else if (typeof event !== "string") {
      return keys.checkGreeting(peerOf(role), event);
    } else if (event !== "here") {
      room.leave();
      return undefined;
    }
  }
}
