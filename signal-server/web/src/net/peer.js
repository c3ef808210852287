/**
 * The connection to the peer: a control channel, a data lane, and whatever further lanes the sender
 * opens. PROTOCOL.md, "Channels".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Frame } from "../proto/frame.js"
 * @import { Role } from "../proto/keys.js"
 * @import { IceServer } from "../proto/rendezvous.js"
 * @import { Paired } from "./pairing.js"
 */

import { CONTROL, FIRST_DATA } from "../proto/binding.js";
import { MAX_FRAME, readFrame, writeFrame } from "../proto/frame.js";
import { Inbox, numbered } from "../proto/lanes.js";
import { readSignals, writeSignals } from "../proto/signal.js";
import { Connection, QUEUE, drained } from "./connection.js";
import { Failure, failureOf } from "./failure.js";
import { Lanes } from "./lanes.js";
import { pause } from "./socket.js";

/** How long everything may take to come up, in milliseconds. */
const CONNECTING = 30_000;

/** How long the last words have to arrive once they have left the browser's queue. */
const FAREWELL = 200;

/** The lanes of the first connection, by the labels of their channels. */
const LABELS = new Map([["control", CONTROL], ["data", FIRST_DATA]]);

/** See the module. */
export class Peer {
  /** @param {Role} role @param {Paired} paired */
  constructor(role, { keys, signalling, iceServers }) {
    this.role = role;
    this.keys = keys;
    this.signalling = signalling;
    this.iceServers = usable(iceServers);
    this.connection = new Connection(role, keys, LABELS, { iceServers: this.iceServers }, {
      say: (signals) => signalling.say(signals),
      onMessage: (lane, message) => this.#arrived(lane, message),
      onEnd: (failure) => this.onEnd?.(failure),
    });
    /** Made for the first that the sender wants. @type {Promise<Lanes> | undefined} */
    this.lanes = undefined;
    this.inbox = new Inbox();
    this.sent = 0;
    /** @type {[number, Frame][]} */
    this.waiting = [];
    /** @type {((frame: Frame, isData: boolean) => void) | undefined} */
    this.onFrame = undefined;
    /** @type {((failure: Failure | undefined) => void) | undefined} what ended it; nothing when it was closed */
    this.onEnd = undefined;
    /** Told when the server sees the peer's socket close, while the connection stands. @type {(() => void) | undefined} */
    this.onLeft = undefined;
  }

  /**
   * Makes the connection.
   *
   * @param {Role} role @param {Paired} paired @param {boolean} isFirst without it there is none at all
   */
  static async connect(role, paired, isFirst) {
    const peer = new Peer(role, paired);
    const late = pause(CONNECTING).then(() => Promise.reject(new Failure("no-path")));
    late.catch(() => {});
    try {
      peer.#hear();
      if (role === "sender") await peer.connection.offer();
      await Promise.race([peer.connection.ready.promise, late]);
      return peer;
    } catch (error) {
      const failure = failureOf(error);
      peer.connection.close();
      // The other end is told when that is the end, unless it was the one that gave up.
      const isTold = isFirst && !failure.reason && failure.kind !== "vanished";
      paired.signalling.leave(isTold ? "no-path" : undefined);
      throw failure;
    }
  }

  /** Whether the server saw the peer's socket close last. */
  get hasLeft() {
    return this.signalling.room.presence !== "here";
  }

  get hasEnded() {
    return this.connection.hasEnded;
  }

  /** The peer's user wants to compare words. */
  get wantsWords() {
    return this.connection.hello?.verify ?? false;
  }

  /** Obeys what comes sealed until both ends part. */
  async #hear() {
    const { connection } = this;
    try {
      while (!connection.hasEnded) {
        const heard = await this.signalling.next();
        if (typeof heard !== "string") for (const signal of heard) await connection.obey(signal);
        else if (connection.isUp && heard !== "lost") this.onLeft?.();
        else if (connection.isUp) return;
        else if (heard !== "gone") throw new Failure(heard === "left" ? "vanished" : "unreachable");
      }
    } catch (error) {
      const failure = failureOf(error);
      // Once lanes are bound, a server that tampers is only not believed any more.
      if (!connection.isUp || failure.reason) connection.end(failure);
    }
  }

  /** @param {number} lane @param {Bytes} message */
  #arrived(lane, message) {
    const frames = lane === CONTROL ? [message] : this.inbox.take(message);
    for (const bytes of frames) {
      const frame = readFrame(bytes);
      if (frame) this.#deliver(frame, lane);
    }
  }

  /** @param {Frame} frame @param {number} lane */
  #deliver(frame, lane) {
    const isData = frame.type === "data" || frame.type === "hashes";
    if (isData !== (lane !== CONTROL) || frame.type === "hello") throw new Failure("protocol");
    if (frame.type === "lane") this.connection.attempt(() => this.#further(frame));
    else if (this.onFrame) this.onFrame(frame, isData);
    else this.waiting.push([lane, frame]);
  }

  /** What is said of a further lane. @param {{ lane: number, signals: Bytes }} said */
  async #further({ lane, signals }) {
    // A page that sends opens none.
    if (this.role === "sender") return;
    const heard = readSignals(signals);
    this.lanes ??= this.#openLanes();
    (await this.lanes).heard(lane, heard);
  }

  async #openLanes() {
    return new Lanes(this.keys, this.iceServers, await this.path(), {
      say: (lane, signals) => this.send({ type: "lane", lane, signals: writeSignals(signals) }),
      // What a lane brings counts as if the first had brought it, faults as well.
      onMessage: (lane, message) => this.connection.attempt(() => this.#arrived(lane, message)),
    });
  }

  /** Starts to hand over frames. @param {(frame: Frame, isData: boolean) => void} onFrame */
  deliverTo(onFrame) {
    this.onFrame = onFrame;
    const waiting = this.waiting;
    this.waiting = [];
    this.connection.attempt(() => waiting.forEach(([lane, frame]) => onFrame(frame, lane !== CONTROL)));
  }

  /** Sends a frame on the control channel. @param {Frame} frame */
  send(frame) {
    const control = this.#channel(CONTROL);
    if (control?.readyState === "open") control.send(writeFrame(frame));
  }

  /** The longest message that the peer takes, in bytes. */
  get longest() {
    return Math.min(this.connection.longest || MAX_FRAME, MAX_FRAME);
  }

  /** Sends a frame on the data lane, and waits while much is queued there. @param {Bytes} frame */
  async sendData(frame) {
    const channel = this.#channel(FIRST_DATA);
    if (channel?.readyState !== "open") throw new Failure("path-lost");
    try {
      channel.send(numbered(this.sent++, frame));
    } catch {
      // It closed a moment ago.
      throw new Failure("path-lost");
    }
    if (channel.bufferedAmount > QUEUE) await drained(channel, QUEUE / 4);
  }

  /** Waits until the peer has what was said last. */
  async flushed() {
    for (const channel of this.connection.channels.values()) await drained(channel, 0);
  }

  path() {
    return this.connection.path();
  }

  /** @param {number} lane */
  #channel(lane) {
    return this.connection.channels.get(lane);
  }

  /** Closes the connection, and leaves the room; `reason` when this end gives up. @param {import("../proto/reason.js").Reason} [reason] */
  close(reason) {
    if (reason && this.connection.isUp) this.send({ type: "cancel", reason });
    this.connection.hasEnded = true;
    this.signalling.leave(reason);
    this.lanes?.then((lanes) => lanes.close());
    // Closing a channel does not flush it.
    const control = this.#channel(CONTROL);
    const flushed = reason && control ? Promise.race([drained(control, 0), pause(500)]) : Promise.resolve();
    flushed.finally(() => setTimeout(() => this.connection.close(), reason ? FAREWELL : 0));
  }
}

/** @param {IceServer[]} iceServers */
const usable = (iceServers) => iceServers.filter(({ urls }) => urls.every((url) => /^(?:stun|turns?):/.test(url)));
