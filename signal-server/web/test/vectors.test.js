/** `tests/vectors`, which every implementation shares, against the page's own modules. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sha512 } from "@noble/hashes/sha2.js";
import { ristretto255 } from "@noble/curves/ed25519.js";

import { Binding } from "../src/proto/binding.js";
import { concat, equal, hex, unbase64, unhex, utf8 } from "../src/proto/bytes.js";
import { isLan, parseInvitation, reveal } from "../src/proto/code.js";
import * as cpace from "../src/proto/cpace.js";
import { Chunking, STREAM_CHUNK, hashChunk, tree } from "../src/proto/digest.js";
import { readFrame, writeFrame } from "../src/proto/frame.js";
import { Keys, greetingCovers, peerOf } from "../src/proto/keys.js";
import { Claiming, OWN_HELLO, Waiting, channelIdentifier, readMessage, writeMessage } from "../src/proto/pairing.js";
import { readReply, writeRequest } from "../src/proto/rendezvous.js";
import { Direction } from "../src/proto/seal.js";
import { readSignals, writeSignals } from "../src/proto/signal.js";
import { Refused } from "../src/proto/wire.js";

/** Runs each case of a file. */
function vectors(file, run) {
  const url = new URL(`../../../tests/vectors/${file}.json`, import.meta.url);
  const { cases } = JSON.parse(readFileSync(url, "utf8"));
  assert(cases.length > 0);
  for (const one of cases) test(`${file}: ${one.name}`, () => run(one, cases));
}

/** What it does is refused in this way. */
function refused(kind, run) {
  assert.throws(run, (error) => error instanceof Refused && error.kind === kind, `not refused as ${kind}`);
}

/** Bytes as text of hexadecimal digits, as vectors have them. */
function plain(value) {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

/** What `plain` made, with bytes where these members have them. */
function withBytes(value, names) {
  if (Array.isArray(value)) return value.map((inner) => withBytes(inner, names));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, inner]) => [
    name,
    names.includes(name) && typeof inner !== "number" ? long(inner) : withBytes(inner, names),
  ]);
  return Object.fromEntries(entries);
}

/** Long bytes are written as a start and a repetition. */
function long(bytes) {
  if (typeof bytes === "string") return unhex(bytes);
  return concat([unhex(bytes.start), ...Array(bytes.times).fill(unhex(bytes.repeat))]);
}

const flipped = (bytes, bit) => bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

vectors("code", ({ typed, means, refused: kind }) => {
  if (kind) return refused(kind, () => parseInvitation(typed));
  const { code, place } = parseInvitation(typed);
  const { nameplate, password } = code;
  const named = typeof place === "object" && "host" in place ? { host: place } : place;
  assert.deepEqual({ code: reveal(code), nameplate, lan: isLan(nameplate), password, place: named }, means);
});

vectors("cpace", (one) => {
  if (one.what === "exchange") return exchange(one);
  if (one.what === "multiplication") {
    const product = cpace.sharedPoint(unhex(one.point), cpace.scalarOf(unhex(one.scalar)));
    return assert.equal(hex(product), one.product);
  }
  refused(one.refused, () => cpace.sharedPoint(unhex(one.point), 7n));
});

function exchange(one) {
  const [password, channel, session] = [one.password, one.channel_identifier, one.session_id].map(unhex);
  const string = cpace.generatorString(password, channel, session);
  assert.equal(hex(string), one.generator_string);
  assert.equal(hex(sha512(string)), one.generator_hash);
  const point = cpace.generator(password, channel, session);
  assert.equal(hex(point.toBytes()), one.generator);
  const [mine, theirs] = [one.initiator_scalar, one.responder_scalar].map((scalar) => cpace.scalarOf(unhex(scalar)));
  assert.equal(hex(cpace.share(point, mine)), one.initiator_share);
  assert.equal(hex(cpace.share(point, theirs)), one.responder_share);
  const shared = cpace.sharedPoint(unhex(one.responder_share), mine);
  assert.equal(hex(shared), one.shared_point);
  assert.deepEqual(shared, cpace.sharedPoint(unhex(one.initiator_share), theirs));
  const initiator = [unhex(one.initiator_share), unhex(one.initiator_data)];
  const responder = [unhex(one.responder_share), unhex(one.responder_data)];
  assert.equal(hex(cpace.sessionKey(session, shared, initiator, responder)), one.isk_ir);
}

const codeOf = (typed) => parseInvitation(typed).code;
const waiting = ({ code, slot, sender_random }) => new Waiting(codeOf(code), slot, unhex(sender_random));
const claiming = ({ code, slot, room, receiver_random }, message) =>
  new Claiming(codeOf(code), slot, room, message, unhex(receiver_random));

vectors("pake", (one) => {
  if (one.what === "run") return pakeRun(one);
  if (one.what === "wrong-code") return wrongCode(one);
  const { inputs, after, message } = one;
  const sender = waiting(inputs);
  if (after === "claim") return refused(one.refused, () => claiming(inputs, readMessage(unhex(message))));
  if (after === "share") return refused(one.refused, () => sender.confirm(inputs.room, readMessage(unhex(message))));
  refused(one.refused, () => claiming(inputs, sender.share).confirmed(readMessage(unhex(message))));
});

function pakeRun(one) {
  const { inputs } = one;
  const { nameplate, password } = codeOf(inputs.code);
  assert.equal(hex(channelIdentifier(nameplate)), one.channel_identifier);
  const point = cpace.generator(utf8(password), channelIdentifier(nameplate), utf8(inputs.slot));
  assert.equal(hex(point.toBytes()), one.generator);
  assert.deepEqual([hex(OWN_HELLO), hex(OWN_HELLO)], [one.sender_hello, one.receiver_hello]);
  const sender = waiting(inputs);
  assert.equal(hex(ristretto255.Point.Fn.toBytes(sender.scalar)), one.sender_scalar);
  assert.equal(hex(writeMessage(sender.share)), one.share_message);
  const receiver = claiming(inputs, readMessage(unhex(one.share_message)));
  assert.equal(hex(writeMessage(receiver.reply)), one.reply_message);
  const { confirmation, keys } = sender.confirm(inputs.room, readMessage(unhex(one.reply_message)));
  assert.equal(hex(writeMessage(confirmation)), one.confirmation_message);
  assert.deepEqual(receiver.confirmed(readMessage(unhex(one.confirmation_message))), keys);
  assert.equal(hex(keys.transcript), one.transcript);
  assert.deepEqual(named(keys), one.keys);
  assert.deepEqual(keys.verifierWords(), one.verifier_words);
  assert.deepEqual(hex(keys.confirmation("sender")), one.sender_tag);
  assert.deepEqual(hex(keys.confirmation("receiver")), one.receiver_tag);
}

/** Keys by the names that the specification gives them. */
const named = (keys) => ({
  "confirm sender": hex(keys.confirm.sender),
  "confirm receiver": hex(keys.confirm.receiver),
  "seal sender": hex(keys.seal.sender),
  "seal receiver": hex(keys.seal.receiver),
  "channel binding": hex(keys.channelBinding),
  "reconnect room": hex(keys.reconnectRoom),
  "reconnect key": hex(keys.reconnectKey),
  verifier: hex(keys.verifier),
});

function wrongCode(one) {
  const sender = waiting(one.sender);
  const receiver = claiming(one.receiver, sender.share);
  refused("wrong-code", () => sender.confirm(one.sender.room, receiver.reply));
  const fitting = sender.confirm(one.sender.room, claiming({ ...one.receiver, ...without(one.sender) }, sender.share).reply);
  refused("wrong-code", () => receiver.confirmed(fitting.confirmation));
}

const without = ({ code, slot, room }) => ({ code, slot, room });

vectors("seal", (one, cases) => {
  const messages = cases.filter(({ what }) => what === "message");
  const of = (role) => messages.filter(({ from }) => from === role);
  if (one.what === "message") {
    const direction = new Direction(unhex(one.key), one.from);
    for (const before of of(one.from).slice(0, one.counter)) direction.seal(long(before.payload));
    assert.equal(hex(direction.seal(long(one.payload))), hex(long(one.sealed)));
    direction.counter = one.counter;
    return assert.deepEqual(direction.open(long(one.sealed)), long(one.payload));
  }
  const peer = of(peerOf(one.opens));
  const opener = new Direction(unhex(peer[0].key), peerOf(one.opens));
  for (const { sealed } of peer.slice(0, one.opened)) opener.open(long(sealed));
  let box = long(of(one.from)[one.counter].sealed);
  if (one.flip !== undefined) box = flipped(box, one.flip);
  if (one.keep !== undefined) box = box.slice(0, one.keep);
  if (one.append !== undefined) box = concat([box, unhex(one.append)]);
  refused(one.refused, () => opener.open(box));
});

const RENAMED = { max_message_size: "maxMessageSize", sctp_port: "sctpPort" };

/** Members under the page's own names. */
function renamed(value) {
  if (Array.isArray(value)) return value.map(renamed);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [RENAMED[name] ?? name, renamed(inner)]));
}

vectors("signal", (one) => {
  // A browser opens no lanes of TLS or QUIC, says so in its description, and passes over what is said
  // of them in another's.
  if (one.name.startsWith("a listener") || one.name.startsWith("a certificate of a lane")) {
    return refused("unknown-critical-field", () => readSignals(long(one.bytes)));
  }
  if (one.name.startsWith("an offer with")) {
    return assert.equal(readSignals(long(one.bytes))[0].type, "description");
  }
  if (one.refused) return refused(one.refused, () => readSignals(long(one.bytes)));
  const means = renamed(one.means ?? one["read-as"]);
  assert.deepEqual(plain(readSignals(long(one.bytes))), means);
  if (one.means) assert.equal(hex(writeSignals(withBytes(means, ["fingerprint"]))), hex(long(one.bytes)));
});

const FRAME_BYTES = ["nonce", "tag", "hash", "digest", "bytes", "signals"];

vectors("frame", (one) => {
  if (one.refused) return refused(one.refused, () => readFrame(long(one.bytes)));
  if (one["passed-over"]) return assert.equal(readFrame(long(one.bytes)), undefined);
  const means = withBytes(one.means ?? one["read-as"], FRAME_BYTES);
  const frame = readFrame(long(one.bytes));
  // A limit that is not told is `null` there and left out here.
  assert.deepEqual(plain(frame.type === "limited" ? { what: null, end: null, ...frame } : frame), plain(means));
  if (one.means) assert.equal(hex(writeFrame(frame)), hex(long(one.bytes)));
});

vectors("binding", (one) => {
  const binding = ({ sender_fingerprint, receiver_fingerprint, generation }) =>
    new Binding(
      unhex(one.binding_key),
      unhex(one.transcript),
      { sender: unhex(sender_fingerprint), receiver: unhex(receiver_fingerprint) },
      generation,
    );
  const { made } = one;
  if (made.exporter ?? one.refused?.exporter) return; // Lanes of TLS, which no browser opens.
  const { role, lane, nonce, verify } = made;
  const hello = binding(made).hello(role, lane, unhex(nonce), verify);
  assert.equal(hex(binding(made).covers(role, hello)), one.covered);
  assert.equal(hex(hello.tag), one.tag);
  assert.equal(hex(writeFrame(hello)), one.frame);
  if (one.accepted) return binding(made).check(role, lane, readFrame(unhex(one.frame)));
  const heard = { ...made, ...one.refused };
  let frame = unhex(one.frame);
  if (heard.flip !== undefined) frame = flipped(frame, heard.flip);
  if (heard.append !== undefined) frame = concat([frame, unhex(heard.append)]);
  refused(heard.as, () => binding(heard).check(heard.role, heard.lane, readFrame(frame)));
});

vectors("digest", async (one) => {
  const chunking = (size) => (one.of === "stream" ? new Chunking(size, STREAM_CHUNK) : new Chunking(size));
  if (one.what === "cut") {
    const cut = chunking(one.size);
    const last = cut.count > 0 ? cut.length(cut.count - 1) : 0;
    return assert.deepEqual([cut.chunkSize, cut.count, last], [one.chunk_size, one.chunks, one.last_chunk]);
  }
  if (one.what === "tree") return assert.equal(hex(tree(one.chunk_hashes.map(unhex))), one.digest);
  const content = Uint8Array.from({ length: one.length }, (_, at) => at % 251);
  const cut = chunking(one.length);
  const chunks = Array.from({ length: cut.count }, (_, at) => content.slice(cut.start(at), cut.start(at) + cut.length(at)));
  const hashes = await Promise.all(chunks.map(hashChunk));
  assert.deepEqual(hashes.map(hex), one.chunk_hashes);
  assert.equal(hex(tree(hashes)), one.digest);
});

vectors("reunion", (one, cases) => {
  const [first] = cases;
  const keys = new Keys(unhex(first.transcript), unhex(first.reconnect_key));
  keys.reconnectRoom = unhex(first.reconnect_room);
  keys.reconnectKey = unhex(first.reconnect_key);
  if (one.what === "refused") return refused(one.refused, () => keys.checkGreeting(peerOf(one.hears), unhex(one.greeting)));
  const nonces = ["sender", "receiver"].map((role) => {
    const { nonce, covered, tag, greeting } = one[role];
    assert.equal(hex(greetingCovers(role, unhex(nonce))), covered);
    assert.equal(hex(keys.greetingTag(role, unhex(nonce))), tag);
    assert.equal(hex(keys.greeting(role, unhex(nonce))), greeting);
    return keys.checkGreeting(role, unhex(greeting));
  });
  const next = keys.renewed(...nonces);
  assert.equal(hex(next.transcript), one.transcript);
  assert.deepEqual(named(next), one.keys);
});

vectors("rendezvous", (one) => {
  // The page writes requests and reads replies.
  if (one.direction === "request") {
    if (one.refused || one.read_as) return;
    const { body, ...request } = JSON.parse(one.text);
    const message = body === undefined ? request : { ...request, body: unbase64(body) };
    return assert.deepEqual(JSON.parse(writeRequest(message)), JSON.parse(one.text));
  }
  if (one.refused) return refused(one.refused, () => readReply(one.text));
  const { body, ...reply } = JSON.parse(one.read_as ?? one.text);
  const read = readReply(one.text);
  if (body !== undefined) assert(equal(read.body, unbase64(body)));
  assert.deepEqual({ ...read, body: undefined }, { ...reply, body: undefined });
});
