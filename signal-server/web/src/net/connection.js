/**
 * A PeerConnection with the lanes that it has, each of which has proved who is at its other end.
 * Nothing else is sent before. PROTOCOL.md, "Channels".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Hello } from "../proto/binding.js"
 * @import { Keys, Role } from "../proto/keys.js"
 * @import { Description, Signal } from "../proto/signal.js"
 * @typedef {{ promise: Promise<void>, resolve: () => void, reject: (error: Failure) => void }} Deferred
 * @typedef {"direct" | "relay"} Path
 * @typedef {object} Events
 * @property {(signals: Signal[]) => void} say what the peer is to hear of this connection
 * @property {(lane: number, message: Bytes) => void} onMessage
 * @property {(failure: Failure | undefined) => void} onEnd with nothing when it was closed
 */

import { Binding } from "../proto/binding.js";
import { equal, random } from "../proto/bytes.js";
import { hashChunk } from "../proto/digest.js";
import { readFrame, writeFrame } from "../proto/frame.js";
import { peerOf } from "../proto/keys.js";
import { MAX_CANDIDATES } from "../proto/signal.js";
import { Failure, failureOf } from "./failure.js";
import { pause } from "./socket.js";
import * as sdp from "./sdp.js";

/** A sender waits while the browser's own queue holds more: it gets no faster, and at 16 MiB it gives up. */
export const QUEUE = 1024 * 1024;

/**
 * How long a sender keeps relayed addresses back, in milliseconds: its browser takes the first path that
 * answers, and p2pshare at the other end stays with it when the browser has found a better one.
 */
const RELAY_PATIENCE = 100;

/** A connection that is coming up, and then is there. */
export class Connection {
  /** What the peer said in the first message on a lane. @type {Hello | undefined} */
  hello = undefined;
  hasEnded = false;
  /** All lanes are bound. */
  isUp = false;
  /** @type {Deferred} */
  ready = deferred();
  /** @type {Map<number, RTCDataChannel>} */
  channels = new Map();
  /** Lanes on which the peer has proved who it is. @type {Set<number>} */
  #bound = new Set();
  /** @type {Description | undefined} */
  #ours = undefined;
  /** @type {Description | undefined} */
  #theirs = undefined;
  /** Candidates that were found before there was a description. @type {Signal[]} */
  #early = [];
  #candidates = 0;
  /** When relayed addresses are told and taken. @type {Deferred} */
  #relays = deferred();

  /**
   * @param {Role} role @param {Keys} keys @param {Map<string, number>} lanes by the labels of their channels
   * @param {RTCConfiguration} configuration @param {Events} events
   */
  constructor(role, keys, lanes, configuration, events) {
    this.role = role;
    this.keys = keys;
    this.lanes = lanes;
    this.events = events;
    this.connection = open(configuration);
    const { connection } = this;
    connection.onicecandidate = ({ candidate }) => this.#found(candidate);
    connection.ondatachannel = ({ channel }) => this.#adopt(channel);
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "failed") this.end(new Failure(this.isUp ? "path-lost" : "no-path"));
    };
    if (role === "receiver") this.#relays.resolve();
  }

  /** Begins, as the sender does. */
  async offer() {
    for (const label of this.lanes.keys()) this.#adopt(this.connection.createDataChannel(label, { ordered: true }));
    await this.#describe(await this.connection.createOffer());
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #describe(description) {
    await this.connection.setLocalDescription(description);
    this.#ours = sdp.parse(/** @type {RTCSessionDescription} */ (this.connection.localDescription).sdp);
    this.events.say([this.#ours, ...this.#early]);
    this.#early = [];
  }

  /** @param {RTCIceCandidate | null} candidate */
  async #found(candidate) {
    /** @type {Signal | undefined} */
    const signal = candidate === null ? { type: "end-of-candidates" } : sdp.parseCandidate(candidate.candidate);
    if (!signal) return;
    // The end comes after what was kept back.
    if (signal.type !== "candidate" || signal.kind === "relay") await this.#relays.promise;
    if (this.hasEnded) return;
    if (this.#ours) this.events.say([signal]);
    else this.#early.push(signal);
  }

  /** Does what the peer says of this connection. @param {Signal} signal */
  async obey(signal) {
    if (signal.type === "cancel") throw new Failure("interrupted", { reason: signal.reason });
    if (signal.type === "description" && !this.#theirs) await this.#take(signal);
    if (signal.type === "candidate" && this.#theirs && this.#candidates < MAX_CANDIDATES) {
      this.#candidates++;
      const taken = signal.kind === "relay" ? this.#relays.promise : Promise.resolve();
      // A candidate that the browser cannot use is one less.
      taken.then(() => this.connection.addIceCandidate(sdp.renderCandidate(signal))).catch(() => {});
    }
  }

  /** @param {Description} description */
  async #take(description) {
    const isOffer = this.role === "receiver";
    if (isOffer !== (description.setup === "actpass")) throw new Failure("protocol");
    this.#theirs = description;
    await this.connection.setRemoteDescription({ type: isOffer ? "offer" : "answer", sdp: sdp.render(description) });
    pause(RELAY_PATIENCE).then(this.#relays.resolve);
    if (isOffer) await this.#describe(await this.connection.createAnswer());
  }

  /** @param {RTCDataChannel} channel */
  #adopt(channel) {
    const lane = this.lanes.get(channel.label);
    if (lane === undefined || this.channels.has(lane)) return channel.close();
    this.channels.set(lane, channel);
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = QUEUE / 4;
    // What a receiver sends at once on a channel that it was just told of is lost now and then: it
    // greets when it has been greeted.
    if (this.role === "sender") channel.onopen = () => this.attempt(() => this.#greet(lane));
    channel.onclose = () => this.end(this.isUp ? undefined : new Failure("no-path"));
    /** Messages wait for each other: checking the first takes a moment. */
    let order = Promise.resolve();
    channel.onmessage = ({ data }) => {
      if (this.#bound.has(lane)) this.attempt(() => this.events.onMessage(lane, bytesOf(data)));
      else order = order.then(() => this.attempt(() => this.#first(lane, bytesOf(data))));
    };
  }

  /** Does something that ends the connection when it throws. @param {() => unknown} act */
  async attempt(act) {
    try {
      const done = act();
      if (done instanceof Promise) await done;
    } catch (error) {
      this.end(failureOf(error));
    }
  }

  /** Binds lanes to both certificates; the peer's must be the one it described. */
  async #binding() {
    const [ours, theirs] = [this.#ours?.fingerprint, this.#theirs?.fingerprint];
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

  /** The first message of a lane, or one that came while that was checked. @param {number} lane @param {Bytes} message */
  async #first(lane, message) {
    if (this.#bound.has(lane)) return this.events.onMessage(lane, message);
    const hello = readFrame(message);
    if (hello?.type !== "hello") throw new Failure("tampered");
    (await this.#binding()).check(peerOf(this.role), lane, hello);
    if (!this.hello || hello.verify) this.hello = hello;
    if (this.role === "receiver") await this.#greet(lane);
    this.#bound.add(lane);
    this.isUp = this.#bound.size === this.lanes.size;
    if (this.isUp) this.ready.resolve();
  }

  /** The longest message that the peer takes, in bytes; 0 when it does not say. */
  get longest() {
    return this.#theirs?.maxMessageSize ?? 0;
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

  /** It is over, which is told once. @param {Failure | undefined} failure */
  end(failure) {
    if (this.hasEnded) return;
    this.hasEnded = true;
    if (!this.isUp) this.ready.reject(failure ?? new Failure("no-path"));
    this.events.onEnd(failure);
  }

  close() {
    this.hasEnded = true;
    this.connection.close();
  }
}

/** @param {RTCDataChannel} channel @param {number} most bytes that may stay queued */
export function drained(channel, most) {
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

/** @param {RTCConfiguration} configuration */
function open(configuration) {
  try {
    return new RTCPeerConnection(configuration);
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
