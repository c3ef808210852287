/**
 * The client of the rendezvous server: a WebSocket that is opened again when it is lost, and the
 * room for two behind it. PROTOCOL.md, "Rendezvous".
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { IceServer, Presence, Reply, Request } from "../proto/rendezvous.js"
 * @typedef {{ room: string, token: string }} Place
 */

import { PATH, readReply, writeRequest } from "../proto/rendezvous.js";
import { Failure } from "./failure.js";

/** How long a server may take to answer, in milliseconds. */
const ANSWER = 10_000;

/** How long a lost socket is opened anew: the server keeps a place for two minutes. */
const REJOIN_FOR = 110_000;
const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 5_000;

/** @param {number} time in milliseconds */
export const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** The server that served this page. @param {Location} location */
export const serverOf = (location) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${PATH}`;

/** Values that come and are waited for, in order. @template T */
export class Queue {
  constructor() {
    /** @type {T[]} */
    this.values = [];
    /** @type {((value: T) => void)[]} */
    this.waiting = [];
  }

  /** @param {T} value */
  put(value) {
    const waiting = this.waiting.shift();
    if (waiting) waiting(value);
    else this.values.push(value);
  }

  /** @returns {Promise<T>} */
  take() {
    if (this.values.length > 0) return Promise.resolve(/** @type {T} */ (this.values.shift()));
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** One socket. */
class Socket {
  /** @param {WebSocket} socket */
  constructor(socket) {
    this.socket = socket;
    /** What the server says; `null` when the socket is lost. @type {Queue<Reply | null>} */
    this.replies = new Queue();
    socket.onmessage = ({ data }) => this.#heard(data);
    socket.onclose = () => this.replies.put(null);
  }

  /** @param {unknown} data */
  #heard(data) {
    try {
      this.replies.put(readReply(String(data)));
    } catch {
      this.socket.close();
    }
  }

  /** @param {string} url @returns {Promise<Socket>} */
  static open(url) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      const given = setTimeout(() => socket.close(), ANSWER);
      socket.onopen = () => {
        clearTimeout(given);
        resolve(new Socket(socket));
      };
      socket.onclose = () => {
        clearTimeout(given);
        reject(new Failure("unreachable"));
      };
    });
  }

  /** @param {Request} request */
  say(request) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(writeRequest(request));
  }

  /** The answer to what was asked last. @param {Request} request @returns {Promise<Reply>} */
  async ask(request) {
    this.say(request);
    const late = pause(ANSWER).then(() => null);
    const reply = await Promise.race([this.replies.take(), late]);
    if (reply === null) throw new Failure("unreachable");
    if (reply.type === "refused") throw refusal(reply.reason);
    return reply;
  }

  close() {
    this.socket.close();
  }
}

/** @param {string} reason */
export function refusal(reason) {
  if (reason === "no-such-code") return new Failure("no-such-code");
  if (["full", "too-many-rooms", "nameplate-taken"].includes(reason)) return new Failure("busy", { detail: reason });
  return new Failure("unreachable", { detail: reason });
}

/** The slot of a sender that waits for its receiver. */
export class Slot {
  /** @param {string} url @param {Socket} socket @param {Place} place */
  constructor(url, socket, place) {
    this.url = url;
    this.socket = socket;
    this.place = place;
    this.hasEnded = false;
  }

  /** @param {string} url @param {Extract<Request, { type: "allocate" }>} request */
  static async open(url, request) {
    const socket = await Socket.open(url);
    try {
      const reply = await socket.ask(request);
      if (reply.type !== "allocated" || reply.room !== request.room) throw new Failure("unreachable");
      return new Slot(url, socket, { room: reply.room, token: reply.token });
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** Waits until somebody claims it. @returns {Promise<{ room: Room, iceServers: IceServer[] }>} */
  async claimed() {
    let reply = await this.socket.replies.take();
    for (;;) {
      if (this.hasEnded) throw new Failure("interrupted");
      if (reply?.type === "paired" && reply.slot === this.place.room) {
        const place = { room: reply.room, token: reply.token };
        return { room: new Room(this.url, this.socket, place), iceServers: reply.ice_servers };
      }
      if (reply?.type === "expired") throw new Failure("expired");
      if (reply?.type === "refused") throw refusal(reply.reason);
      if (reply === null) {
        const { socket, reply: answer } = await rejoin(this.url, this.place, 0, () => this.hasEnded);
        this.socket = socket;
        reply = answer;
      } else {
        reply = await this.socket.replies.take();
      }
    }
  }

  leave() {
    this.hasEnded = true;
    this.socket.say({ type: "leave", room: this.place.room });
    this.socket.close();
  }
}

/**
 * Takes a place up again on a new socket.
 *
 * @param {string} url @param {Place} place @param {number} received @param {() => boolean} hasEnded
 */
async function rejoin(url, { room, token }, received, hasEnded) {
  const deadline = performance.now() + REJOIN_FOR;
  for (let time = FIRST_PAUSE; ; time = Math.min(2 * time, LONGEST_PAUSE)) {
    try {
      const socket = await Socket.open(url);
      return { socket, reply: await socket.ask({ type: "rejoin", room, token, received }) };
    } catch (error) {
      const isLost = error instanceof Failure && error.kind === "unreachable" && !error.detail;
      if (!isLost || hasEnded() || performance.now() > deadline) throw error;
    }
    await pause(time);
  }
}

/** A room for two: messages from and to the other end, in order and once, whatever sockets do. */
export class Room {
  /** @param {string} url @param {Socket} socket @param {Place} place */
  constructor(url, socket, place) {
    this.url = url;
    this.socket = socket;
    this.place = place;
    this.sent = 0;
    this.received = 0;
    /** What the server may not have. @type {{ number: number, body: Bytes }[]} */
    this.unconfirmed = [];
    /** A message, the peer's presence, or `lost` with the server. @type {Queue<Bytes | Presence | "lost">} */
    this.events = new Queue();
    /** What the server said last of the other end's socket. @type {Presence} */
    this.presence = "here";
    /** For a room that exists by being joined. @type {IceServer[]} */
    this.iceServers = [];
    this.hasEnded = false;
    this.isSettled = false;
    this.#run();
  }

  /** Takes the slot behind a nameplate. @param {string} url @param {string} nameplate */
  static async claim(url, nameplate) {
    const socket = await Socket.open(url);
    try {
      const reply = await socket.ask({ type: "claim", nameplate });
      if (reply.type !== "claimed" || reply.nameplate !== nameplate) throw new Failure("unreachable");
      const room = new Room(url, socket, { room: reply.room, token: reply.token });
      return { room, slot: reply.slot, share: reply.body, iceServers: reply.ice_servers };
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Enters a room that exists by being joined.
   *
   * @param {string} url @param {string} name @param {import("../proto/keys.js").Role} role
   */
  static async join(url, name, role) {
    const socket = await Socket.open(url);
    try {
      const reply = await socket.ask({ type: "join", room: name, role });
      if (reply.type !== "joined" || reply.room !== name) throw new Failure("unreachable");
      return new Room(url, socket, { room: name, token: reply.token });
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  get name() {
    return this.place.room;
  }

  /** @param {Bytes} body */
  say(body) {
    const number = ++this.sent;
    this.unconfirmed.push({ number, body });
    // The server keeps as many, and an end sends far fewer; the oldest have long arrived.
    if (this.unconfirmed.length > 64) this.unconfirmed.shift();
    this.socket.say({ type: "send", room: this.name, number, body });
  }

  /** Gives the place up. What was said before is still handed over. */
  leave() {
    this.hasEnded = true;
    this.socket.say({ type: "leave", room: this.name });
    this.socket.close();
  }

  /** Nothing more is needed from the server: a socket that is lost is not opened again. */
  settle() {
    this.isSettled = true;
  }

  async #run() {
    while (!this.hasEnded) {
      const reply = await this.socket.replies.take();
      if (reply !== null) this.#heard(reply);
      else if (this.isSettled) return;
      else if (!this.hasEnded && !(await this.#rejoin())) return this.events.put("lost");
    }
  }

  async #rejoin() {
    try {
      const isOver = () => this.hasEnded || this.isSettled;
      const { socket, reply } = await rejoin(this.url, this.place, this.received, isOver);
      if (reply.type !== "rejoined" || this.hasEnded) {
        socket.close();
        return false;
      }
      this.socket = socket;
      this.unconfirmed = this.unconfirmed.filter(({ number }) => number > reply.received);
      for (const message of this.unconfirmed) socket.say({ type: "send", room: this.name, ...message });
      return true;
    } catch {
      return false;
    }
  }

  /** @param {Reply} reply */
  #heard(reply) {
    if (!("room" in reply) || reply.room !== this.name) return;
    if (reply.type === "ice-servers") this.iceServers = reply.ice_servers;
    if (reply.type === "peer") {
      this.presence = reply.presence;
      this.events.put(reply.presence);
    }
    if (reply.type === "message") {
      this.socket.say({ type: "ack", room: this.name, number: reply.number });
      if (reply.number !== this.received + 1) return;
      this.received = reply.number;
      this.events.put(reply.body);
    }
  }
}
