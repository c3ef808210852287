/**
 * From a code to keys and a room whose words are sealed: the three messages of the PAKE through the
 * server. PROTOCOL.md, "Pairing".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Code } from "../proto/code.js"
 * @import { IceServer } from "../proto/rendezvous.js"
 * @import { Keys, Role } from "../proto/keys.js"
 * @import { Signal } from "../proto/signal.js"
 * @typedef {{ keys: Keys, signalling: Signalling, iceServers: IceServer[] }} Paired
 */

import { hex, random } from "../proto/bytes.js";
import { generatePassword } from "../proto/code.js";
import { peerOf } from "../proto/keys.js";
import { Claiming, Waiting, readMessage, writeMessage } from "../proto/pairing.js";
import { Direction } from "../proto/seal.js";
import { readSignals, writeSignals } from "../proto/signal.js";
import { Failure, failureOf } from "./failure.js";
import { Room, Slot, pause } from "./socket.js";

/** How long the other end may take for its message of the PAKE, in milliseconds. */
const PAIRING = 30_000;

/** The longest that a slot waits, in seconds. */
const TTL = 86_400;

/** Numbers are short as long as there are some left. */
const NAMEPLATES = [99, 99, 99, 999, 999, 999, 99_999, 9_999_999];

const WORDS = 3;

/** A room whose words are sealed. */
export class Signalling {
  /** @param {Room} room @param {Keys} keys @param {Role} role */
  constructor(room, keys, role) {
    this.room = room;
    this.sealer = new Direction(keys.seal[role], role);
    this.opener = new Direction(keys.seal[peerOf(role)], peerOf(role));
  }

  /** @param {Signal[]} signals */
  say(signals) {
    const box = this.sealer.seal(writeSignals(signals));
    this.room.say(writeMessage({ type: "sealed", box }));
  }

  /** What comes next: signals, or that the peer, its socket or the server is gone. @returns {Promise<Signal[] | "gone" | "left" | "lost">} */
  async next() {
    for (;;) {
      const event = await this.room.events.take();
      if (event === "gone" || event === "left" || event === "lost") return event;
      if (event !== "here") return this.#open(event);
    }
  }

  /** @param {Bytes} bytes */
  #open(bytes) {
    try {
      const message = readMessage(bytes);
      if (message.type !== "sealed") throw new Failure("tampered");
      return readSignals(this.opener.open(message.box));
    } catch {
      throw new Failure("tampered");
    }
  }

  /** @param {import("../proto/reason.js").Reason} [reason] when this end gives up */
  leave(reason) {
    if (reason) this.say([{ type: "cancel", reason }]);
    this.room.leave();
  }
}

/** The peer's next message of the PAKE. @param {Room} room @param {boolean} wantsHere */
async function message(room, wantsHere) {
  const late = pause(PAIRING).then(() => /** @type {const} */ ("late"));
  for (;;) {
    const event = await Promise.race([room.events.take(), late]);
    if (typeof event !== "string") return readMessage(event);
    // That is what a sender does who was shown a wrong code.
    if (event === "left") throw new Failure("wrong-code");
    if (event === "late" || event === "lost" || (event === "gone" && wantsHere)) throw new Failure("vanished");
  }
}

/** The receiver's side. @param {string} url @param {Code} code @returns {Promise<Paired>} */
export async function claim(url, code) {
  const { room, slot, share, iceServers } = await Room.claim(url, code.nameplate);
  try {
    const claiming = new Claiming(code, slot, room.name, readMessage(share), random(64));
    room.say(writeMessage(claiming.reply));
    const keys = claiming.confirmed(await message(room, true));
    return { keys, signalling: new Signalling(room, keys, "receiver"), iceServers };
  } catch (error) {
    room.leave();
    throw failureOf(error);
  }
}

/** A sender's code, from the moment it can be told to somebody. */
export class Offered {
  /** @param {Code} code @param {Slot} slot @param {Waiting} waiting */
  constructor(code, slot, waiting) {
    this.code = code;
    this.slot = slot;
    this.waiting = waiting;
  }

  /** Opens a slot behind a new code. @param {string} url */
  static async open(url) {
    for (const [tries, most] of NAMEPLATES.entries()) {
      const code = { nameplate: String((randomNumber() % most) + 1), password: generatePassword(WORDS, randomNumber) };
      const name = hex(random(16));
      const waiting = new Waiting(code, name, random(64));
      const body = writeMessage(waiting.share);
      try {
        const request = { room: name, nameplate: code.nameplate, ttl: TTL, body };
        return new Offered(code, await Slot.open(url, { type: "allocate", claims: 1, ...request }), waiting);
      } catch (error) {
        const isTaken = error instanceof Failure && error.detail === "nameplate-taken";
        if (!isTaken || tries === NAMEPLATES.length - 1) throw error;
      }
    }
    throw new Failure("busy");
  }

  /**
   * Waits for a receiver that has the words. Whoever has not counts as a wrong guess, and the code is
   * used up. `onClaimed` is told that somebody came.
   *
   * @param {() => void} onClaimed @returns {Promise<Paired>}
   */
  async paired(onClaimed) {
    const { room, iceServers } = await this.slot.claimed();
    onClaimed();
    try {
      const { confirmation, keys } = this.waiting.confirm(room.name, await message(room, true));
      room.say(writeMessage(confirmation));
      return { keys, signalling: new Signalling(room, keys, "sender"), iceServers };
    } catch (error) {
      room.leave();
      const failure = failureOf(error);
      throw failure.kind === "version" ? failure : new Failure("wrong-code");
    }
  }
}

function randomNumber() {
  return new DataView(random(4).buffer).getUint32(0);
}
