/** Both machines at the ends of a wire that can be cut: what is sent arrives, once, whole and verified. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { hashChunk, tree } from "../src/proto/digest.js";
import { readFrame, writeFrame } from "../src/proto/frame.js";
import { Receiver } from "../src/proto/receiver.js";
import { Sender } from "../src/proto/sender.js";

const LONGEST = 65536;
const CHUNK = 262_144;

/** Bytes that do not repeat. */
function bytes(length, seed) {
  const content = new Uint8Array(length);
  let state = seed | 1;
  for (let at = 0; at < length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    content[at] = state;
  }
  return content;
}

const file = (path, size) => ({ kind: "file", path, size, modified: null, executable: false });
const folder = (path) => ({ kind: "directory", path, size: 0, modified: null, executable: false });

/** Keeps files in memory, and notices what a store must never be asked to do. */
class Memory {
  constructor(entries, confirmsEach) {
    this.files = entries.map(({ size }) => new Uint8Array(size));
    this.confirmsEach = confirmsEach;
    this.finished = new Set();
    this.isClosed = false;
  }

  async write(at, position, content) {
    assert(!this.finished.has(at) && !this.isClosed);
    this.files[at].set(content, position);
    for (let start = 0; start < content.length; start += CHUNK) {
      const part = content.subarray(start, start + CHUNK);
      this.held?.push({ file: at, chunk: (position + start) / CHUNK, length: part.length, content: part });
    }
  }

  async finish(at) {
    assert(!this.finished.has(at));
    this.finished.add(at);
  }

  async discard() {}

  async close() {
    this.isClosed = true;
  }

  async abort() {
    this.isAborted = true;
  }
}

/** A sender and a receiver, and the wire between them. */
class World {
  constructor(entries, { confirmsEach = true, change = (frame) => frame, progress = () => {} } = {}) {
    this.entries = entries;
    this.contents = entries.map(({ size }, at) => bytes(size, at + 7));
    this.change = change;
    this.progress = progress;
    this.carried = 0;
    this.isUp = true;
    this.over = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.confirmsEach = confirmsEach;
    /** What any receiver has verified, as a log has it. */
    this.held = [];
    this.receiver = this.#receiver();
    this.sender = new Sender(
      entries,
      {
        send: (frame) => this.#carry(frame, () => this.receiver),
        sendData: async (frame) => {
          const { connection } = this;
          this.#deliver(this.change(frame, this.carried++), () => this.receiver, connection);
        },
        read: async (at, start, length) => this.contents[at].slice(start, start + length),
        onFailed: (error) => this.reject(error),
        onAccepted: () => {},
        onProgress: () => {},
        onDone: () => this.resolve(),
      },
      LONGEST,
    );
  }

  #receiver(kept) {
    const receiver = new Receiver({
      send: (frame) => receiver === this.receiver && this.#carry(frame, () => this.sender),
      onOffer: () => {
        this.store = Object.assign(new Memory(this.entries, this.confirmsEach), { held: this.held });
        receiver.accept(this.store, false, kept);
      },
      onProgress: () => this.progress(),
      onDone: () => (this.isReceived = true),
      onFailed: (error) => this.reject(error),
    });
    return receiver;
  }

  #carry(frame, to) {
    this.#deliver(writeFrame(frame), to);
  }

  /** In order, and not within the call. */
  #deliver(wire, to, connection = this.connection) {
    setImmediate(() => {
      if (!this.isUp || connection !== this.connection) return;
      try {
        const frame = readFrame(wire);
        if (frame.type === "resume") this.sender.resumed(frame.entries);
        else to().frame(frame);
      } catch (error) {
        this.reject(error);
      }
    });
  }

  async run() {
    this.connection = 0;
    this.sender.start();
    await this.over;
    assert(this.isReceived);
    for (const [at, content] of this.contents.entries()) assert.deepEqual(this.store.files[at], content, `file ${at}`);
  }

  /** The receiver is gone, and another comes that has what was verified; `spoil` may change that. */
  restart(spoil = () => {}) {
    this.connection++;
    this.receiver.isOver = true;
    this.receiver.order.then(() => {
      const held = this.held.splice(0);
      held.forEach(spoil);
      this.spared = held.reduce((sum, { length }) => sum + length, 0);
      this.connection++;
      const kept = {
        held,
        read: async ({ content }) => content,
        restore: (file, position, content) => this.store.write(file, position, content),
      };
      this.sender.lost();
      this.receiver = this.#receiver(kept);
      this.receiver.reconnected();
    });
  }

  /** What is on its way is lost; then there is another connection. */
  cut() {
    this.connection++;
    this.sender.lost();
    this.receiver.reconnected();
  }
}

const OFFER = [
  folder(["f"]),
  file(["f", "a"], 700_001),
  folder(["f", "empty"]),
  file(["f", "b"], 0),
  file(["f", "c"], 1),
  file(["d"], 3_000_000),
];

for (const confirmsEach of [true, false]) {
  test(`everything arrives when ${confirmsEach ? "each file" : "only all of it"} is confirmed`, () =>
    new World(OFFER, { confirmsEach }).run());
}

test("many small files arrive", () =>
  new World([folder(["f"]), ...Array.from({ length: 2500 }, (_, at) => file(["f", `${at}`], at % 7))]).run());

for (let at = 0; at < 66; at++) {
  test(`a connection that is lost after ${at} messages is continued`, async () => {
    const world = new World(OFFER, {
      change: (frame, carried) => {
        // At once, so that what confirms an earlier file is lost, too, or a moment later.
        if (carried === at) at % 2 ? world.cut() : setImmediate(() => world.cut());
        return frame;
      },
    });
    await world.run();
  });
}

const TOTAL = OFFER.reduce((sum, { size }) => sum + size, 0);

for (const share of [0, 0.1, 0.2, 0.3, 0.5, 0.8]) {
  test(`a receiver that is started anew with ${100 * share} % is sent only the rest`, async () => {
    let [again, isAgain] = [0, false];
    const world = new World(OFFER, {
      change: (frame) => {
        if (world.spared !== undefined && readFrame(frame).type === "data") again += readFrame(frame).records[0].bytes.length;
        return frame;
      },
      progress: () => {
        if (isAgain || world.receiver.bytes < share * TOTAL) return;
        isAgain = true;
        world.restart();
      },
    });
    await world.run();
    assert(world.spared >= share * TOTAL && world.spared > 0, `${world.spared}`);
    assert.equal(again, TOTAL - world.spared);
  });
}

for (let at = 0; at < 66; at += 3) {
  test(`what is another at the sender comes again, after ${at} messages and a second loss`, async () => {
    const world = new World(OFFER, {
      change: (frame, carried) => {
        const spoil = (held, index) => index % 2 === 0 && (held.content = held.content.map((byte) => byte ^ 1));
        if (carried === at) world.restart(spoil);
        if (carried === at + 3) world.cut();
        return frame;
      },
    });
    await world.run();
  });
}

test("a claim that is answered with another hash and no bytes is refused", async () => {
  const told = [];
  let claimed;
  const claim = new Promise((resolve) => (claimed = resolve));
  const send = (frame) => (told.push(frame), frame.type === "claim" && claimed());
  const receiver = new Receiver({ send, onOffer: () => {}, onProgress: () => {} });
  receiver.frame({ type: "manifest", entries: [file(["a"], 10)] });
  receiver.frame({ type: "manifest-end", entries: 1, bytes: 10 });
  const kept = { held: [{ file: 0, chunk: 0, length: 10 }], read: async () => new Uint8Array(10) };
  receiver.accept(new Memory([file(["a"], 10)], true), false, kept);
  await claim;
  assert.deepEqual(told.map(({ type }) => type), ["accept", "credit", "claim"]);
  assert.throws(() => receiver.frame({ type: "hashes", hashes: [{ file: 0, chunk: 0, hash: new Uint8Array(32) }] }), /protocol/);
});

test("many chunks may wait for their hashes, but few for their bytes", () => {
  const entries = Array.from({ length: 200 }, (_, at) => file([`${at}`], 2));
  const receiverOf = () => {
    const receiver = new Receiver({ send: () => {}, onOffer: () => {} });
    receiver.frame({ type: "manifest", entries });
    receiver.frame({ type: "manifest-end", entries: 200, bytes: 400 });
    receiver.accept(new Memory(entries, true));
    return receiver;
  };
  const records = (length) =>
    entries.map((_, at) => ({ file: at, chunk: 0, offset: 0, bytes: new Uint8Array(length) }));
  receiverOf().frame({ type: "data", records: records(2) });
  assert.throws(() => receiverOf().frame({ type: "data", records: records(1) }), /too many/);
});

test("a changed byte is noticed, and never written", async () => {
  const world = new World([file(["a"], 300_000)], {
    change: (frame, carried) => (carried === 2 ? frame.map((byte, at) => (at === 40 ? byte ^ 1 : byte)) : frame),
  });
  await assert.rejects(world.run(), /verification/);
  assert.deepEqual(world.store.files[0].slice(0, 262_144), new Uint8Array(262_144));
  assert.equal(world.store.finished.size, 0);
});

test("a sender that goes past its credit is refused", () => {
  const told = [];
  const receiver = new Receiver({ send: (frame) => told.push(frame), onOffer: () => {} });
  receiver.frame({ type: "manifest", entries: [file(["a"], 2 ** 30)] });
  receiver.frame({ type: "manifest-end", entries: 1, bytes: 2 ** 30 });
  receiver.accept(new Memory([], true));
  assert.deepEqual(told.map(({ type }) => type), ["accept", "credit", "want"]);
  const part = (at) => ({ file: 0, chunk: Math.floor(at / 512), offset: (at % 512) * 1024, bytes: new Uint8Array(1024) });
  const flood = () => {
    for (let at = 0; at < 70_000; at++) receiver.frame({ type: "data", records: [part(at)] });
  };
  assert.throws(flood, /protocol/);
});

test("what a receiver claims is sent again only where it differs", async () => {
  const content = bytes(600_000, 3);
  const chunks = [content.slice(0, 262_144), content.slice(262_144, 524_288), content.slice(524_288)];
  const hashes = await Promise.all(chunks.map(hashChunk));
  const [told, data] = [[], []];
  const ended = new Promise((resolve) => {
    const sender = new Sender(
      [file(["a"], content.length)],
      {
        send: (frame) => (told.push(frame), frame.type === "fin" && resolve()),
        sendData: async (frame) => data.push(readFrame(frame)),
        read: async (_, start, length) => content.slice(start, start + length),
        onFailed: assert.fail,
        onAccepted: () => {},
        onProgress: () => {},
        onDone: () => {},
      },
      LONGEST,
    );
    sender.start();
    sender.frame({ type: "accept" });
    sender.frame({ type: "credit", limit: 2 ** 24 });
    const claim = (chunk, hash) => ({ file: 0, chunk, hash });
    sender.frame({ type: "claim", hashes: [claim(0, hashes[0]), claim(1, hashes[0]), claim(2, hashes[2])] });
  });
  await ended;
  const sent = data.filter(({ type }) => type === "data").flatMap(({ records }) => records);
  assert(sent.every(({ chunk }) => chunk === 1));
  assert.equal(sent.reduce((sum, { bytes }) => sum + bytes.length, 0), 262_144);
  assert.deepEqual(told.at(-1).files[0].digest, tree(hashes));
});
