/**
 * A transfer, from a code to its end: pairs, connects, hands frames to the machine of its role, and
 * looks for the peer again when the path is lost. Tells the page what happens, and knows nothing of
 * how that is shown.
 *
 * @import { Bytes } from "./proto/bytes.js"
 * @import { Code } from "./proto/code.js"
 * @import { Entry, Offer } from "./proto/manifest.js"
 * @import { Kept } from "./proto/claims.js"
 * @import { Store } from "./proto/receiver.js"
 * @import { Reunion } from "./store/journal.js"
 * @import { Frame } from "./proto/frame.js"
 * @import { Role } from "./proto/keys.js"
 * @import { Reason } from "./proto/reason.js"
 * @import { Path } from "./net/connection.js"
 * @import { Paired } from "./net/pairing.js"
 *
 * @typedef {object} Events
 * @property {(stage: "looking" | "searching" | "checking" | "connecting" | "connected" | "reconnecting") => void} onStage
 * @property {(words: string[]) => void} onWords the sender's user wants to compare these
 * @property {(path: Path) => void} onPath
 * @property {(limit: { what?: string, end?: string }) => void} onLimited
 * @property {(bytes: number) => void} onProgress
 * @property {(result: { withdrawn: number, skipped: number }) => void} onDone
 * @property {(failure: Failure) => void} onFailed
 */

import { Failure, failureOf } from "./net/failure.js";
import { Offered, claim } from "./net/pairing.js";
import { Peer } from "./net/peer.js";
import { PATIENCE, SENDER_GONE, SERVER_AWAY, STARTED_ANEW, meetAgain } from "./net/reunion.js";
import { pause } from "./net/socket.js";
import { isLan } from "./proto/code.js";
import { Keys } from "./proto/keys.js";
import { Receiver } from "./proto/receiver.js";
import { Sender } from "./proto/sender.js";

/** How long a receiver stays for the sender's farewell, in milliseconds. */
const FAREWELL = 30_000;

/** When a straight path is sought while the path is relayed, and for how long, in milliseconds. */
const SEEK_AFTER = [2_000, 10_000, 20_000, 40_000];
const SEEK_EACH = 60_000;
const SEEK_FOR = 8_000;

/** What the peer is told when this end gives up. @type {Partial<Record<import("./net/failure.js").FailureKind, Reason>>} */
const REASONS = {
  declined: "declined",
  disk: "disk",
  "too-large": "disk",
  interrupted: "interrupted",
  protocol: "protocol",
  "source-changed": "source-changed",
  "unsafe-name": "unsafe-name",
  verification: "verification",
  "words-differ": "verification",
  "no-path": "no-path",
};

/** After what a receiver may go on another time, with the same sender or with one that was started anew. @param {Failure} failure */
export const canGoOn = ({ kind, reason }) =>
  reason ? reason === "interrupted" || reason === "no-path" : ["path-lost", "vanished", "no-path", "unreachable"].includes(kind);

/** What both roles share. */
class Session {
  /** @param {string} url of the server @param {Role} role @param {Events} events */
  constructor(url, role, events) {
    this.url = url;
    this.role = role;
    this.events = events;
    /** @type {Peer | undefined} */
    this.peer = undefined;
    /** @type {Keys | undefined} */
    this.keys = undefined;
    this.isOver = false;
    /** Whether the server is the sender's own process. */
    this.isEmbedded = false;
    /** What comes of looking for a straight path. @type {Promise<Peer | undefined> | undefined} */
    this.seeking = undefined;
    /** Whether the peer is looked for, because the path is lost or the peer was seen to leave. */
    this.isSearching = false;
    /** Whether people compare words. */
    this.isComparing = false;
  }

  /** Connects, and again whenever the path is lost, until the transfer is over. @param {Paired} paired @param {boolean} isFirst */
  async connect(paired, isFirst) {
    this.events.onStage("connecting");
    this.keys = paired.keys;
    this.adopt(await Peer.connect(this.role, paired, isFirst), isFirst);
  }

  /** Goes on over a connection that is there, in place of one that may still stand. @param {Peer} peer @param {boolean} isFirst */
  adopt(peer, isFirst) {
    if (this.isOver) return peer.close("interrupted");
    this.isSearching = false;
    this.#part();
    this.peer = peer;
    peer.onEnd = (failure) => this.ended(peer, failure);
    peer.onLeft = () => this.#left(peer);
    if (peer.hasEnded) return this.ended(peer, undefined);
    this.events.onStage("connected");
    this.#lookAtPath(peer);
    this.isComparing = peer.wantsWords && isFirst;
    if (this.isComparing) this.events.onWords(peer.keys.verifierWords());
    this.begin(peer, isFirst);
    peer.deliverTo((frame) => this.heard(frame));
    if (peer.hasLeft) this.#left(peer);
  }

  /** @param {Peer} _peer @param {boolean} _isFirst */
  begin(_peer, _isFirst) {}

  /** @param {Frame} frame */
  heard(frame) {
    if (frame.type === "cancel") throw new Failure("interrupted", { reason: frame.reason });
    if (frame.type === "limited") return this.events.onLimited(frame);
    this.frame(frame);
  }

  /** @param {Frame} _frame */
  frame(_frame) {}

  /** The connection has ended. @param {Peer} peer @param {Failure | undefined} failure */
  ended(peer, failure) {
    if (this.isOver || peer !== this.peer) return;
    // Only who has compared words knows the keys of this connection.
    if (this.isComparing) return this.fail(failure ?? new Failure("path-lost"));
    if (failure && failure.kind !== "path-lost") return this.fail(failure);
    // The other end may have gone over to the straight path a moment before this one.
    if (this.seeking) this.seeking.then((straight) => straight || this.#broken(peer));
    else this.#broken(peer);
  }

  /** @param {Peer} peer */
  #broken(peer) {
    if (this.isOver || peer !== this.peer) return;
    this.#part();
    this.events.onStage("reconnecting");
    this.#search(this.role === "receiver" && peer.hasLeft ? SENDER_GONE : PATIENCE);
  }

  /** The server saw the peer's socket close: a receiver that died may be back before its path counts as lost. @param {Peer} peer */
  #left(peer) {
    const isNeeded = this.role === "sender" && !this.isOver && !this.isComparing && !this.seeking;
    if (isNeeded && peer === this.peer) this.#search(PATIENCE);
  }

  /** Nothing more comes from the connection that there was. */
  #part() {
    if (!this.peer) return;
    this.peer.onEnd = undefined;
    this.peer.close();
    this.peer = undefined;
    this.lost();
  }

  lost() {}

  /** @param {Peer} peer */
  async #lookAtPath(peer) {
    const path = await peer.path().catch(() => undefined);
    if (path) this.events.onPath(path);
    if (path === "relay") this.#seekStraight(peer);
  }

  /** Looks for a path without a relay, while the relayed one is in use. @param {Peer} peer */
  async #seekStraight(peer) {
    const isNeeded = () => !this.isOver && !this.isComparing && !this.isSearching && this.peer === peer;
    for (let attempt = 0; ; attempt++) {
      await pause(SEEK_AFTER[attempt] ?? SEEK_EACH);
      if (this.isOver || this.peer !== peer) return;
      if (!isNeeded()) continue;
      this.seeking = this.#straight(isNeeded);
      const straight = await this.seeking;
      this.seeking = undefined;
      if (!straight) continue;
      if (!isNeeded()) return straight.close();
      return this.adopt(straight, false);
    }
  }

  /** A connection that needs no relay, if there can be one now. @param {() => boolean} isNeeded */
  async #straight(isNeeded) {
    const how = { patience: SEEK_FOR, isEmbedded: false };
    try {
      const keys = /** @type {Keys} */ (this.keys);
      const paired = await meetAgain(this.url, this.role, keys, how, () => !isNeeded());
      const iceServers = paired.iceServers.filter(({ urls }) => urls.every((url) => url.startsWith("stun:")));
      return await Peer.connect(this.role, { ...paired, iceServers }, false);
    } catch {
      // The relayed path is still there.
      return undefined;
    }
  }

  /** Looks for the peer until there is a connection. @param {number} patience in milliseconds */
  async #search(patience) {
    if (this.isSearching) return;
    this.isSearching = true;
    while (!this.isOver && this.keys) {
      try {
        const how = { patience, isEmbedded: this.isEmbedded };
        const paired = await meetAgain(this.url, this.role, this.keys, how, () => this.isOver);
        return await this.connect(paired, false);
      } catch (error) {
        const failure = failureOf(error);
        if (["path-lost", "vanished"].includes(failure.kind) || failure.reason) return this.#unfound(failure);
      }
    }
  }

  /** @param {Failure} failure */
  #unfound(failure) {
    this.isSearching = false;
    // The old connection may still stand.
    if (!this.peer) this.fail(failure);
  }

  /** Ends everything; the peer is told why, unless it was the peer. @param {Failure} failure */
  fail(failure) {
    if (this.isOver) return;
    this.isOver = true;
    this.peer?.close(failure.reason ? undefined : (REASONS[failure.kind] ?? "other"));
    this.stopped(failure);
    this.events.onFailed(failure);
  }

  /** @param {Failure} _failure */
  stopped(_failure) {}

  /** The user has enough. */
  cancel() {
    this.fail(new Failure("interrupted"));
  }

  /** @param {() => Promise<void>} run */
  async guard(run) {
    try {
      await run();
    } catch (error) {
      this.fail(failureOf(error));
    }
  }
}

/** Receives what the sender of a code offers. */
export class Receiving extends Session {
  /** @param {string} url @param {Events & { onOffer: (offer: Offer) => void }} events */
  constructor(url, events) {
    super(url, "receiver", events);
    this.machine = new Receiver({
      send: (frame) => this.peer?.send(frame),
      onOffer: () => events.onOffer(this.machine.offer),
      onProgress: () => events.onProgress(this.machine.bytes),
      onDone: () => this.#done(),
      onFailed: (error) => this.fail(failureOf(error)),
    });
    /** @type {Store | undefined} */
    this.store = undefined;
    this.nameplate = "";
    /** What is unfinished is put away. @type {Promise<void>} */
    this.cleared = Promise.resolve();
  }

  /** @param {Code} code */
  start(code) {
    return this.guard(async () => {
      this.isEmbedded = isLan(code.nameplate);
      this.nameplate = code.nameplate;
      this.events.onStage("looking");
      await this.connect(await claim(this.url, code), true);
    });
  }

  /** Meets the sender of a transfer that was interrupted, in a page that was loaded anew. @param {Reunion} reunion */
  resume(reunion) {
    return this.guard(async () => {
      this.isEmbedded = reunion.isEmbedded;
      this.nameplate = reunion.nameplate;
      this.events.onStage("searching");
      const how = { patience: STARTED_ANEW, isEmbedded: reunion.isEmbedded };
      try {
        const keys = Keys.again(reunion.room, reunion.key);
        await this.connect(await meetAgain(this.url, this.role, keys, how, () => this.isOver), false);
      } catch (error) {
        throw failureOf(error).detail === SERVER_AWAY ? new Failure("unreachable") : error;
      }
    });
  }

  /** How the sender is met again. @returns {Reunion | undefined} */
  get reunion() {
    if (!this.keys) return undefined;
    const { url, nameplate, isEmbedded } = this;
    return { url, nameplate, isEmbedded, room: this.keys.reconnectRoom, key: this.keys.reconnectKey };
  }

  /** @param {Peer} peer @param {boolean} isFirst */
  begin(peer, isFirst) {
    if (!isFirst) this.machine.reconnected();
  }

  /** @param {Frame} frame */
  frame(frame) {
    // The sender's user has said that the words are the same.
    this.isComparing = false;
    this.machine.frame(frame);
  }

  /** The user wants it. @param {Store} store @param {boolean} endFirst @param {Kept} [kept] what is here from before */
  accept(store, endFirst, kept) {
    this.store = store;
    this.guard(async () => this.machine.accept(store, endFirst, kept));
  }

  decline() {
    this.fail(new Failure("declined"));
  }

  /** @param {Failure} failure */
  stopped(failure) {
    this.machine.isOver = true;
    this.cleared = this.machine.order.then(() => this.store?.abort(canGoOn(failure))).catch(() => {});
  }

  #done() {
    this.isOver = true;
    const { peer } = this;
    // The sender closes once it has heard that everything is safe, and its own server with it.
    peer?.signalling.room.settle();
    const timer = setTimeout(() => peer?.close(), FAREWELL);
    if (peer) {
      peer.onEnd = () => {
        clearTimeout(timer);
        peer.close();
      };
    }
    this.events.onDone({ withdrawn: this.machine.withdrawn, skipped: 0 });
  }
}

/** The most codes that are tried when somebody comes with wrong words. */
const MOST_CODES = 3;

/**
 * @typedef {Events & {
 *   onCode: (code: Code, isAnother: boolean) => void,
 *   onAccepted: () => void,
 * }} SendingEvents
 */

/** Sends files to whoever has the code. */
export class Sending extends Session {
  /**
   * @param {string} url @param {Entry[]} entries
   * @param {(file: number, start: number, length: number) => Promise<Bytes>} read
   * @param {SendingEvents} events
   */
  constructor(url, entries, read, events) {
    super(url, "sender", events);
    this.entries = entries;
    this.read = read;
    this.sendingEvents = events;
    /** @type {Sender | undefined} */
    this.machine = undefined;
    /** @type {Offered | undefined} */
    this.offered = undefined;
  }

  start() {
    return this.guard(async () => this.connect(await this.#paired(), true));
  }

  /** Waits for a receiver that has the words; a wrong guess uses a code up. */
  async #paired() {
    for (let code = 1; ; code++) {
      this.offered = await Offered.open(this.url);
      if (this.isOver) this.offered.slot.leave();
      this.sendingEvents.onCode(this.offered.code, code > 1);
      try {
        return await this.offered.paired(() => this.events.onStage("checking"));
      } catch (error) {
        if (failureOf(error).kind !== "wrong-code" || code === MOST_CODES) throw error;
      }
    }
  }

  /** @param {Peer} peer @param {boolean} isFirst */
  begin(peer, isFirst) {
    if (!isFirst) return;
    this.machine = new Sender(
      this.entries,
      {
        send: (frame) => this.peer?.send(frame),
        sendData: (frame) => this.#sendData(frame),
        read: this.read,
        onFailed: (error) => this.fail(failureOf(error)),
        onAccepted: () => this.sendingEvents.onAccepted(),
        onProgress: () => this.machine && this.events.onProgress(this.machine.bytes),
        onDone: () => this.#done(),
      },
      peer.longest,
    );
    if (!this.isComparing) this.machine.start();
  }

  /** The user has compared the words; nothing was told before. @param {boolean} isSame */
  compared(isSame) {
    if (!isSame) return this.fail(new Failure("words-differ"));
    this.isComparing = false;
    this.machine?.start();
  }

  lost() {
    this.machine?.lost();
  }

  /** What cannot be sent on a lost connection is sent again on the next. @param {Bytes} frame */
  async #sendData(frame) {
    try {
      await this.peer?.sendData(frame);
    } catch (error) {
      if (failureOf(error).kind !== "path-lost") throw error;
    }
  }

  /** @param {Frame} frame */
  frame(frame) {
    if (frame.type === "resume") this.machine?.resumed(frame.entries);
    else this.machine?.frame(frame);
  }

  stopped() {
    this.machine?.stop();
    this.offered?.slot.leave();
  }

  #done() {
    this.isOver = true;
    const { peer, machine } = this;
    // Closing a channel does not flush it.
    peer?.flushed().then(() => peer.close());
    const [withdrawn, skipped] = [machine?.count("withdrawn") ?? 0, machine?.count("skipped") ?? 0];
    this.events.onDone({ withdrawn, skipped });
  }
}
