/**
 * Further lanes, which a sender opens where they make it faster: each a PeerConnection of its own that
 * the ends describe to each other over the control channel. PROTOCOL.md, "Further lanes".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Keys } from "../proto/keys.js"
 * @import { IceServer } from "../proto/rendezvous.js"
 * @import { Signal } from "../proto/signal.js"
 * @import { Path } from "./connection.js"
 * @typedef {object} Events
 * @property {(lane: number, signals: Signal[]) => void} say
 * @property {(lane: number, message: Bytes) => void} onMessage
 */

import { FIRST_DATA } from "../proto/binding.js";
import { Connection } from "./connection.js";
import { Failure } from "./failure.js";
import { pause } from "./socket.js";

/** How many there are at most, and through a relay, which lends a room so many addresses only. */
const MOST = 16;
const MOST_RELAYED = 4;

/** How many are answered in all. */
const MOST_NUMBERS = 4096;

/** How long one may take to come up, in milliseconds. */
const PATIENCE = 8_000;

/** The further lanes of a receiver. */
export class Lanes {
  /** @type {Map<number, Connection>} */
  #lanes = new Map();
  /** Numbers that the sender has used: each stands for one lane. @type {Set<number>} */
  #used = new Set();
  #isClosed = false;

  /** @param {Keys} keys @param {IceServer[]} iceServers @param {Path | undefined} path that the first connection takes @param {Events} events */
  constructor(keys, iceServers, path, events) {
    this.keys = keys;
    this.events = events;
    this.most = path === "relay" ? MOST_RELAYED : MOST;
    this.configuration = configurationFor(path, iceServers);
  }

  /** What the sender says of a lane. @param {number} number @param {Signal[]} signals */
  async heard(number, signals) {
    const lane = this.#lanes.get(number) ?? this.#answer(number);
    // One after the other: candidates are of use when there is a description.
    await lane?.attempt(async () => {
      for (const signal of signals) await lane.obey(signal);
    });
  }

  /** @param {number} number */
  #answer(number) {
    if (this.#used.has(number) || number <= FIRST_DATA || this.#isClosed) return undefined;
    if (this.#lanes.size === this.most || this.#used.size === MOST_NUMBERS) {
      this.events.say(number, [{ type: "cancel", reason: "other" }]);
      return undefined;
    }
    this.#used.add(number);
    const lane = new Connection("receiver", this.keys, new Map([["data", number]]), this.configuration, {
      say: (signals) => this.events.say(number, signals),
      onMessage: (_, message) => this.events.onMessage(number, message),
      onEnd: () => {
        this.#lanes.delete(number);
        lane.close();
      },
    });
    this.#lanes.set(number, lane);
    pause(PATIENCE).then(() => lane.isUp || lane.end(new Failure("no-path")));
    return lane;
  }

  close() {
    this.#isClosed = true;
    this.#lanes.forEach((lane) => lane.close());
    this.#lanes.clear();
  }
}

/** Lanes take the kind of path that there is already. @param {Path | undefined} path @param {IceServer[]} iceServers @returns {RTCConfiguration} */
function configurationFor(path, iceServers) {
  if (path === "relay") return { iceServers, iceTransportPolicy: "relay" };
  return { iceServers: iceServers.filter(({ urls }) => urls.every((url) => url.startsWith("stun:"))) };
}
