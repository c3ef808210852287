// The browser's end of a connection, as a page of p2pshare would make it: PROTOCOL.md, "Channels".

"use strict";

const MESSAGE = 65536;

// More than this in the browser's own queue is no faster.
const QUEUE = 1024 * 1024;

/** Values that one side puts in and the other waits for, in order. */
class Queue {
  #values = [];
  #waiting = [];

  put(value) {
    const waiting = this.#waiting.shift();
    waiting ? waiting(value) : this.#values.push(value);
  }

  take() {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

function happens(target, name) {
  return new Promise((resolve) => target.addEventListener(name, resolve, { once: true }));
}

function hex(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The words of one message of a stream: xorshift32, the same in browser.rs. */
function fill(words, stream, index) {
  let x = (Math.imul(stream, 0x9e3779b1) ^ Math.imul(index, 0x85ebca77)) | 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
}

function check(message, stream, index) {
  if (!(message instanceof ArrayBuffer) || message.byteLength !== MESSAGE) {
    throw new Error(`message ${index} has another type or length`);
  }
  const expected = new Uint32Array(MESSAGE / 4);
  fill(expected, stream, index);
  const words = new Uint32Array(message);
  if (!expected.every((word, i) => word === words[i])) throw new Error(`message ${index} differs`);
}

class Lane {
  constructor(channel) {
    this.channel = channel;
    this.channel.binaryType = "arraybuffer";
    this.channel.bufferedAmountLowThreshold = QUEUE / 2;
    this.messages = new Queue();
    this.opened = channel.readyState === "open" ? Promise.resolve() : happens(channel, "open");
    this.closed = happens(this.channel, "close");
    this.channel.addEventListener("message", (event) => this.messages.put(event.data));
  }

  async send({ stream, count }) {
    for (let index = 0; index < count; index++) {
      if (this.channel.bufferedAmount > QUEUE) await happens(this.channel, "bufferedamountlow");
      const words = new Uint32Array(MESSAGE / 4);
      fill(words, stream, index);
      this.channel.send(words);
    }
  }

  async receive({ stream, count }) {
    for (let index = 0; index < count; index++) check(await this.messages.take(), stream, index);
  }
}

const connection = new RTCPeerConnection();
const labels = ["control", "data"];

// Whoever offers creates the channels; the other end is told of them.
const lanes = [];
const complete = new Promise((resolve) => {
  connection.addEventListener("datachannel", ({ channel }) => {
    lanes[labels.indexOf(channel.label)] = new Lane(channel);
    if (lanes[0] && lanes[1]) resolve();
  });
});
const candidates = new Queue();
connection.addEventListener("icecandidate", ({ candidate }) => {
  // An empty candidate ends a generation of them, null all of them.
  if (candidate?.candidate !== "") candidates.put(candidate?.candidate ?? null);
});

/** What kinds of candidates the connection runs over, as this end sees them. */
async function selectedPair() {
  const stats = await connection.getStats();
  const { selectedCandidatePairId } = [...stats.values()].find(({ type }) => type === "transport");
  const pair = stats.get(selectedCandidatePairId);
  const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
  return { local: local.candidateType, remote: remote.candidateType };
}

/** What `browser.rs` calls. */
const peer = {
  async offer() {
    labels.forEach((label, lane) => {
      lanes[lane] = new Lane(connection.createDataChannel(label, { ordered: true }));
    });
    await connection.setLocalDescription(await connection.createOffer());
    return connection.localDescription.sdp;
  },

  async answer(sdp) {
    await connection.setRemoteDescription({ type: "offer", sdp });
    await connection.setLocalDescription(await connection.createAnswer());
    return connection.localDescription.sdp;
  },

  accept: (sdp) => connection.setRemoteDescription({ type: "answer", sdp }),

  candidate: () => candidates.take(),

  addCandidate: (candidate) =>
    connection.addIceCandidate({ candidate, sdpMid: "0", sdpMLineIndex: 0 }),

  async opened() {
    if (!lanes[0] || !lanes[1]) await complete;
    await Promise.all(lanes.map(({ opened }) => opened));
    const [certificate] = connection.sctp.transport.getRemoteCertificates();
    const maxMessageSize = connection.sctp.maxMessageSize;
    return { certificate: hex(certificate), maxMessageSize, ...(await selectedPair()) };
  },

  takeFrame: async (lane) => hex(await lanes[lane].messages.take()),

  putFrame: ({ lane, frame }) =>
    lanes[lane].channel.send(Uint8Array.from(frame.match(/../g), (byte) => parseInt(byte, 16))),

  send: ({ lane, stream, count }) => lanes[lane].send({ stream, count }),

  receive: ({ lane, stream, count }) => lanes[lane].receive({ stream, count }),

  exchange: ({ lane, send, receive, count }) =>
    Promise.all([
      lanes[lane].send({ stream: send, count }),
      lanes[lane].receive({ stream: receive, count }),
    ]).then(() => null),

  close: () => connection.close(),

  closed: () => Promise.all(lanes.map(({ closed }) => closed)).then(() => null),
};
