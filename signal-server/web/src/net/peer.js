/**
 * The connection to the peer: two data channels of which each has proved who is at its other end.
 * Nothing else is sent before. PROTOCOL.md, "Channels".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Frame } from "../proto/frame.js"
 * @import { Role } from "../proto/keys.js"
 * @import { Description, Signal } from "../proto/signal.js"
 * @import { Paired } from "./pairing.js"
 * @typedef {{ promise: Promise<void>, resolve: () => void, reject: (error: Failure) => void }} Deferred
 * @typedef {"direct" | "relay"} Path
 */

import { Binding, CONTROL, FIRST_DATA } from "../proto/binding.js";
import { equal, random } from "../proto/bytes.js";
import { hashChunk } from "../proto/digest.js";
import { MAX_FRAME, readFrame, writeFrame } from "../proto/frame.js";
import { peerOf } from "../proto/keys.js";
import { Inbox, numbered } from "../proto/lanes.js";
import { MAX_CANDIDATES, writeSignals } from "../proto/signal.js";
import { Failure, failureOf } from "./failure.js";
import { pause } from "./socket.js";
import * as sdp from "./sdp.js";

/** How long everything may take to come up, in milliseconds. */
const CONNECTING = 30_000;

/** More than this in the browser's own queue is no faster; at 16 MiB it gives up. */
const QUEUE = 1024 * 1024;

/**
 * How long a sender keeps relayed addresses back, in milliseconds: its browser takes the first path that
 * answers, and p2pshare at the other end stays with it when the browser has found a better one.
 */
const RELAY_PATIENCE = 100;

/** How long the last words have to arrive once they have left the browser's queue. */
const FAREWELL = 200;

/** The lanes of the connection, by the labels of their channels. */
const LABELS = new Map([["control", CONTROL], ["data", FIRST_DATA]]);

/** A connection that is coming up, and then is there. */
export class Peer {
  /** @param {Role} role @param {Paired} paired */
  constructor(role, { keys, signalling, iceServers }) {
    this.role = role;
    this.keys = keys;
    this.signalling = signalling;
    this.connection = open(iceServers);
    /** @type {Map<number, RTCDataChannel>} */
    this.channels = new Map();
    /** Lanes on which the peer has. @type {Set<number>} */
    this.bound = new Set();
    /** @type {Description | undefined} */
    this.ours = undefined;
    /** @type {Description | undefined} */
    this.theirs = undefined;
    /** @type {Signal[]} */
    this.early = [];
    this.candidates = 0;
    /** When relayed addresses are told and taken. @type {Deferred} */
    this.relays = deferred();
    if (role === "receiver") this.relays.resolve();
    this.wantsWords = false;
    this.inbox = new Inbox();
    this.sent = 0;
    /** @type {[number, Frame][]} */
    this.waiting = [];
    /** @type {((frame: Frame, isData: boolean) => void) | undefined} */
    this.onFrame = undefined;
    /** @type {((failure: Failure | undefined) => void) | undefined} what ended it; nothing when it was closed */
    this.onEnd = undefined;
    this.hasEnded = false;
    /** Told when the server sees the peer's socket close, while the connection stands. @type {(() => void) | undefined} */
    this.onLeft = undefined;
    /** @type {Deferred} */
    this.ready = deferred();
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
      peer.#listen();
      peer.#hear();
      if (role === "sender") await peer.#offer();
      await Promise.race([peer.ready.promise, late]);
      return peer;
    } catch (error) {
      const failure = failureOf(error);
      peer.hasEnded = true;
      peer.connection.close();
      // The other end is told when that is the end, unless it was the one that gave up.
      const isTold = isFirst && !failure.reason && failure.kind !== "vanished";
      paired.signalling.leave(isTold ? "no-path" : undefined);
      throw failure;
    }
  }

  #listen() {
    const { connection } = this;
    connection.onicecandidate = ({ candidate }) => this.#found(candidate);
    connection.ondatachannel = ({ channel }) => this.#adopt(channel);
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "failed") this.#end(new Failure(this.#isUp ? "path-lost" : "no-path"));
    };
  }

  /** Whether the server saw the peer's socket close last. */
  get hasLeft() {
    return this.signalling.room.presence !== "here";
  }

  get #isUp() {
    return this.bound.size === LABELS.size;
  }

  async #offer() {
    for (const label of LABELS.keys()) this.#adopt(this.connection.createDataChannel(label, { ordered: true }));
    await this.#describe(await this.connection.createOffer());
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #describe(description) {
    await this.connection.setLocalDescription(description);
    this.ours = sdp.parse(/** @type {RTCSessionDescription} */ (this.connection.localDescription).sdp);
    this.signalling.say([this.ours, ...this.early]);
    this.early = [];
  }

  /** @param {RTCIceCandidate | null} candidate */
  async #found(candidate) {
    /** @type {Signal | undefined} */
    const signal = candidate === null ? { type: "end-of-candidates" } : sdp.parseCandidate(candidate.candidate);
    if (!signal) return;
    // The end comes after what was kept back.
    if (signal.type !== "candidate" || signal.kind === "relay") await this.relays.promise;
    if (this.hasEnded) return;
    if (this.ours) this.signalling.say([signal]);
    else this.early.push(signal);
  }

  /** Obeys what comes sealed until both ends part. */
  async #hear() {
    try {
      while (!this.hasEnded) {
        const heard = await this.signalling.next();
        if (typeof heard !== "string") for (const signal of heard) await this.#obey(signal);
        else if (this.#isUp && heard !== "lost") this.onLeft?.();
        else if (this.#isUp) return;
        else if (heard !== "gone") throw new Failure(heard === "left" ? "vanished" : "unreachable");
      }
    } catch (error) {
      const failure = failureOf(error);
      // Once lanes are bound, a server that tampers is only not believed any more.
      if (!this.#isUp || failure.reason) this.#end(failure);
    }
  }

  /** @param {Signal} signal */
  async #obey(signal) {
    if (signal.type === "cancel") throw new Failure("interrupted", { reason: signal.reason });
    if (signal.type === "description" && !this.theirs) await this.#take(signal);
    if (signal.type === "candidate" && this.theirs && this.candidates < MAX_CANDIDATES) {
      this.candidates++;
      const taken = signal.kind === "relay" ? this.relays.promise : Promise.resolve();
      // A candidate that the browser cannot use is one less.
      taken.then(() => this.connection.addIceCandidate(sdp.renderCandidate(signal))).catch(() => {});
    }
  }

  /** @param {Description} description */
  async #take(description) {
    const isOffer = this.role === "receiver";
    if (isOffer !== (description.setup === "actpass")) throw new Failure("protocol");
    this.theirs = description;
    await this.connection.setRemoteDescription({ type: isOffer ? "offer" : "answer", sdp: sdp.render(description) });
    pause(RELAY_PATIENCE).then(this.relays.resolve);
    if (isOffer) await this.#describe(await this.connection.createAnswer());
  }

  /** @param {RTCDataChannel} channel */
  #adopt(channel) {
    const lane = LABELS.get(channel.label);
    if (lane === undefined || this.channels.has(lane)) return channel.close();
    this.channels.set(lane, channel);
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = QUEUE / 4;
    // What a receiver sends at once on a channel that it was just told of is lost now and then: it
    // greets when it has been greeted.
    if (this.role === "sender") channel.onopen = () => this.#try(() => this.#greet(lane));
    channel.onclose = () => this.#end(this.#isUp ? undefined : new Failure("no-path"));
    /** Messages wait for each other: checking the first takes a moment. */
    let order = Promise.resolve();
    channel.onmessage = ({ data }) => {
      if (this.bound.has(lane)) this.#try(() => this.#arrived(lane, data));
      else order = order.then(() => this.#try(() => this.#early(lane, data)));
    };
  }

  /** Ends the connection with whatever is thrown. @param {() => unknown} act */
  async #try(act) {
    try {
      const done = act();
      if (done instanceof Promise) await done;
    } catch (error) {
      this.#end(failureOf(error));
    }
  }

  /** Binds lanes to both certificates; the peer's must be the one it described. */
  async #binding() {
    const [ours, theirs] = [this.ours?.fingerprint, this.theirs?.fingerprint];
    const transport = this.connection.sctp?.transport;
    if (!ours || !theirs || !transport) throw new Failure("tampered");
    // Not every browser shows the certificate; then its own check must do.
    const [certificate] = transport.getRemoteCertificates?.() ?? [];
    if (certificate && !equal(await hashChunk(new Uint8Array(certificate)), theirs)) throw new Failure("tampered");
    const fingerprints = this.role === "sender" ? { sender: ours, receiver: theirs } : { sender: theirs, receiver: ours };
    return new Binding(this.keys.channelBinding, this.keys.transcript, fingerprints);
  }

  /** @param {number} lane */
  async #greet(lane) {
    const binding = await this.#binding();
    const channel = this.channels.get(lane);
    // A greeting can arrive a moment before its channel counts as open here.
    if (channel?.readyState === "connecting") {
      await new Promise((resolve) => channel.addEventListener("open", resolve, { once: true }));
    }
    if (channel?.readyState !== "open") throw new Failure("no-path");
    channel.send(writeFrame(binding.hello(this.role, lane, random(16), false)));
  }

  /** The first message of a lane, or one that came while that was checked. @param {number} lane @param {unknown} data */
  async #early(lane, data) {
    if (this.bound.has(lane)) return this.#arrived(lane, data);
    const hello = readFrame(bytesOf(data));
    if (hello?.type !== "hello") throw new Failure("tampered");
    (await this.#binding()).check(peerOf(this.role), lane, hello);
    this.wantsWords ||= hello.verify;
    if (this.role === "receiver") await this.#greet(lane);
    this.bound.add(lane);
    if (this.#isUp) this.ready.resolve();
  }

  /** @param {number} lane @param {unknown} data */
  #arrived(lane, data) {
    const message = bytesOf(data);
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
    // One lane is enough here; a sender that would open more hears so at once.
    if (frame.type === "lane") return this.#decline(frame.lane);
    if (this.onFrame) this.onFrame(frame, isData);
    else this.waiting.push([lane, frame]);
  }

  /** @param {number} lane */
  #decline(lane) {
    const signals = writeSignals([{ type: "cancel", reason: "other" }]);
    if (this.role === "receiver") this.send({ type: "lane", lane, signals });
  }

  /** Starts to hand over frames. @param {(frame: Frame, isData: boolean) => void} onFrame */
  deliverTo(onFrame) {
    this.onFrame = onFrame;
    const waiting = this.waiting;
    this.waiting = [];
    this.#try(() => waiting.forEach(([lane, frame]) => onFrame(frame, lane !== CONTROL)));
  }

  /** Sends a frame on the control channel. @param {Frame} frame */
  send(frame) {
    const control = this.channels.get(CONTROL);
    if (control?.readyState === "open") control.send(writeFrame(frame));
  }

  /** The longest message that the peer takes, in bytes. */
  get longest() {
    return Math.min(this.theirs?.maxMessageSize || MAX_FRAME, MAX_FRAME);
  }

  /** Sends a frame on the data lane, and waits while much is queued there. @param {Bytes} frame */
  async sendData(frame) {
    const channel = this.channels.get(FIRST_DATA);
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
    for (const channel of this.channels.values()) await drained(channel, 0);
  }

  /** @returns {Promise<Path | undefined>} */
  async path() {
    const stats = await this.connection.getStats();
    const values = /** @type {any[]} */ ([.../** @type {any} */ (stats).values()]);
    const transport = values.find(({ type }) => type === "transport");
    const pair = values.find(({ id }) => id === transport?.selectedCandidatePairId) ??
      values.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    if (!pair) return undefined;
    const ends = values.filter(({ id }) => id === pair.localCandidateId || id === pair.remoteCandidateId);
    return ends.some(({ candidateType }) => candidateType === "relay") ? "relay" : "direct";
  }

  /** @param {Failure | undefined} failure */
  #end(failure) {
    if (this.hasEnded) return;
    if (!this.#isUp) this.ready.reject(failure ?? new Failure("no-path"));
    this.hasEnded = true;
    this.onEnd?.(failure);
  }

  /** Closes the connection, and leaves the room; `reason` when this end gives up. @param {import("../proto/reason.js").Reason} [reason] */
  close(reason) {
    this.hasEnded = true;
    if (reason && this.#isUp) this.send({ type: "cancel", reason });
    this.signalling.leave(reason);
    // Closing a channel does not flush it.
    const control = this.channels.get(CONTROL);
    const flushed = reason && control ? Promise.race([drained(control, 0), pause(500)]) : Promise.resolve();
    flushed.finally(() => setTimeout(() => this.connection.close(), reason ? FAREWELL : 0));
  }
}

/** @param {RTCDataChannel} channel @param {number} most bytes that may stay queued */
function drained(channel, most) {
  return new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const look = () => {
      if (channel.bufferedAmount > most && channel.readyState === "open") return;
      clearInterval(timer);
      channel.removeEventListener("bufferedamountlow", look);
      channel.removeEventListener("close", look);
      resolve();
    };
    // The event is known to be lost now and then.
    const timer = setInterval(look, 50);
    channel.addEventListener("bufferedamountlow", look);
    channel.addEventListener("close", look);
    look();
  });
}

/** @param {unknown} data @returns {Bytes} */
function bytesOf(data) {
  if (!(data instanceof ArrayBuffer)) throw new Failure("protocol");
  return new Uint8Array(data);
}

/** @param {import("../proto/rendezvous.js").IceServer[]} iceServers */
function open(iceServers) {
  const known = iceServers.filter(({ urls }) => urls.every((url) => /^(?:stun|turns?):/.test(url)));
  try {
    return new RTCPeerConnection({ iceServers: known });
  } catch {
    // A server that names what this browser cannot use is not to stop what needs no help.
    return new RTCPeerConnection();
  }
}

/** @returns {Deferred} */
function deferred() {
  /** @type {any} */
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {});
  return made;
}
