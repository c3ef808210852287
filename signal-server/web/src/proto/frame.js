/**
 * What travels on lanes: one frame a message. PROTOCOL.md, "Frames".
 *
 * @import { Bytes } from "./bytes.js"
 * @import { Hello } from "./binding.js"
 * @import { Entry } from "./manifest.js"
 * @import { Reason } from "./reason.js"
 * @typedef {[number, number]} Range its first, and the one after its last
 * @typedef {{ file: number, chunk: number, offset: number, bytes: Bytes }} Part
 * @typedef {{ file: number, chunk: number, hash: Bytes }} ChunkHash
 * @typedef {{ file: number, size: number, digest: Bytes }} Finished
 * @typedef {{ files: Range, chunks: Range }} Wanted
 * @typedef {Hello
 *   | { type: "data", records: Part[] }
 *   | { type: "hashes", hashes: ChunkHash[] }
 *   | { type: "manifest", entries: Entry[] }
 *   | { type: "manifest-end", entries: number, bytes: number }
 *   | { type: "accept" }
 *   | { type: "credit", limit: number }
 *   | { type: "fin", files: Finished[] }
 *   | { type: "fin-ok", files: Range[] }
 *   | { type: "cancel", reason: Reason }
 *   | { type: "want", wanted: Wanted[] }
 *   | { type: "claim", hashes: ChunkHash[] }
 *   | { type: "skip", reason: Reason, files: Range[] }
 *   | { type: "withdraw", files: Range[] }
 *   | { type: "kept", file: number, chunks: number }
 *   | { type: "resume", entries: number }
 *   | { type: "lane", lane: number, signals: Bytes }
 *   | { type: "limited", what?: string, end?: string }} Frame
 */

import { readEntry, writeEntry } from "./manifest.js";
import { codeOf, reasonOf } from "./reason.js";
import {
  CRITICAL,
  Fields,
  Reader,
  Refused,
  array,
  bigEndian,
  field,
  mark,
  numberField,
  raw,
  typed,
  u16,
  u32,
  u32s,
  u64,
} from "./wire.js";

/** The longest message on a lane, in bytes. */
export const MAX_FRAME = 65536;
/** Bytes before the payload of a Data frame with one record. */
export const DATA_HEADER = 18;
/** The end of a range of chunks that goes to the end of the file. */
export const TO_THE_END = 0xffffffff;

const HELLO = CRITICAL | 1;
const DATA = CRITICAL | 2;
const HASHES = CRITICAL | 3;
const MANIFEST = CRITICAL | 4;
const MANIFEST_END = CRITICAL | 5;
const ACCEPT = CRITICAL | 6;
const CREDIT = CRITICAL | 7;
const FIN = CRITICAL | 8;
const FIN_OK = CRITICAL | 9;
const CANCEL = CRITICAL | 10;
const WANT = CRITICAL | 11;
const CLAIM = CRITICAL | 12;
const SKIP = CRITICAL | 13;
const WITHDRAW = CRITICAL | 14;
const KEPT = CRITICAL | 15;
const RESUME = CRITICAL | 16;
const LANE = 1;
const LIMITED = 2;

/** What limits a transfer, by its number. */
const LIMITS = ["", "disk", "processor", "window", "loss", "line", "relay", "user"];
const ENDS = ["", "sender", "receiver"];

/** @param {Frame} frame @returns {Bytes} */
export function writeFrame(frame) {
  switch (frame.type) {
    case "hello":
      return writeHello(frame);
    case "data":
      return typed(DATA, ...frame.records.flatMap(writePart));
    case "hashes":
      return typed(HASHES, ...frame.hashes.flatMap(writeHash));
    case "manifest":
      return typed(MANIFEST, ...frame.entries.map((entry) => field(CRITICAL | 1, writeEntry(entry))));
    case "manifest-end":
      return typed(MANIFEST_END, numberField(CRITICAL | 1, frame.entries, 4), numberField(CRITICAL | 2, frame.bytes, 8));
    case "accept":
      return typed(ACCEPT);
    case "credit":
      return typed(CREDIT, numberField(CRITICAL | 1, frame.limit, 8));
    case "fin":
      return typed(FIN, ...frame.files.flatMap(({ file, size, digest }) => [u32s(file), bigEndian(size, 8), digest]));
    case "fin-ok":
      return typed(FIN_OK, ...frame.files.map((range) => u32s(...range)));
    case "cancel":
      return typed(CANCEL, numberField(CRITICAL | 1, codeOf(frame.reason), 2));
    case "want":
      return typed(WANT, ...frame.wanted.map(({ files, chunks }) => u32s(...files, ...chunks)));
    case "claim":
      return typed(CLAIM, ...frame.hashes.flatMap(writeHash));
    case "skip":
      return typed(
        SKIP,
        numberField(CRITICAL | 1, codeOf(frame.reason), 2),
        ...frame.files.map((range) => field(CRITICAL | 2, u32s(...range))),
      );
    case "withdraw":
      return typed(WITHDRAW, ...frame.files.map((range) => u32s(...range)));
    case "kept":
      return typed(KEPT, numberField(CRITICAL | 1, frame.file, 4), numberField(CRITICAL | 2, frame.chunks, 4));
    case "resume":
      return typed(RESUME, numberField(CRITICAL | 1, frame.entries, 4));
    case "lane":
      return typed(LANE, numberField(CRITICAL | 1, frame.lane, 4), field(CRITICAL | 2, frame.signals));
    case "limited":
      return writeLimited(frame);
  }
}

/** @param {Hello} hello */
const writeHello = ({ lane, generation, nonce, tag, verify }) =>
  typed(
    HELLO,
    numberField(CRITICAL | 1, lane, 4),
    numberField(CRITICAL | 2, generation, 4),
    field(CRITICAL | 3, nonce),
    field(CRITICAL | 4, tag),
    ...(verify ? [field(CRITICAL | 5, new Uint8Array())] : []),
  );

/** @param {Part} part */
const writePart = ({ file, chunk, offset, bytes }) => [u32s(file, chunk, offset, bytes.length), bytes];

/** @param {ChunkHash} hash */
const writeHash = ({ file, chunk, hash }) => [u32s(file, chunk), hash];

/** @param {{ what?: string, end?: string }} limited */
const writeLimited = ({ what, end }) =>
  what === undefined || end === undefined
    ? typed(LIMITED)
    : typed(LIMITED, numberField(1, LIMITS.indexOf(what), 2), numberField(2, ENDS.indexOf(end), 2));

/**
 * Reads a message; `undefined` is a frame of a later version that may be passed over.
 *
 * @param {Bytes} message @returns {Frame | undefined}
 */
export function readFrame(message) {
  if (message.length > MAX_FRAME) throw new Refused("too-long");
  const reader = new Reader(message);
  const type = reader.u16();
  switch (type) {
    case DATA:
      return { type: "data", records: each(reader, readPart) };
    case HASHES:
      return { type: "hashes", hashes: each(reader, readHash) };
    case FIN:
      return { type: "fin", files: each(reader, readFinished) };
    case FIN_OK:
      return { type: "fin-ok", files: each(reader, readRange) };
    case WANT:
      return { type: "want", wanted: each(reader, readWanted) };
    case CLAIM:
      return { type: "claim", hashes: each(reader, readHash) };
    case WITHDRAW:
      return { type: "withdraw", files: each(reader, readRange) };
  }
  if (!(type & CRITICAL) && type !== LANE && type !== LIMITED) return undefined;
  const fields = new Fields(message.subarray(2));
  const frame = readFields(type, fields);
  fields.finish();
  return frame;
}

/** @param {number} type @param {Fields} fields @returns {Frame} */
function readFields(type, fields) {
  switch (type) {
    case HELLO:
      return {
        type: "hello",
        lane: fields.required(CRITICAL | 1, u32),
        generation: fields.required(CRITICAL | 2, u32),
        nonce: fields.required(CRITICAL | 3, array(16)),
        tag: fields.required(CRITICAL | 4, array(32)),
        verify: fields.optional(CRITICAL | 5, mark) ?? false,
      };
    case MANIFEST:
      return { type: "manifest", entries: fields.all(CRITICAL | 1, readEntry) };
    case MANIFEST_END:
      return {
        type: "manifest-end",
        entries: fields.required(CRITICAL | 1, u32),
        bytes: fields.required(CRITICAL | 2, u64),
      };
    case ACCEPT:
      return { type: "accept" };
    case CREDIT:
      return { type: "credit", limit: fields.required(CRITICAL | 1, u64) };
    case CANCEL:
      return { type: "cancel", reason: reasonOf(fields.required(CRITICAL | 1, u16)) };
    case SKIP:
      return {
        type: "skip",
        reason: reasonOf(fields.required(CRITICAL | 1, u16)),
        files: fields.all(CRITICAL | 2, (value) => readRange(new Reader(array(8)(value)))),
      };
    case KEPT:
      return { type: "kept", file: fields.required(CRITICAL | 1, u32), chunks: fields.required(CRITICAL | 2, u32) };
    case RESUME:
      return { type: "resume", entries: fields.required(CRITICAL | 1, u32) };
    case LANE:
      return { type: "lane", lane: fields.required(CRITICAL | 1, u32), signals: fields.required(CRITICAL | 2, raw) };
    case LIMITED:
      return readLimited(fields);
    default:
      throw new Refused("unknown-critical-type");
  }
}

/** A limit of a later version is none. @param {Fields} fields @returns {Frame} */
function readLimited(fields) {
  const [what, end] = [LIMITS[fields.optional(1, u16) ?? 0], ENDS[fields.optional(2, u16) ?? 0]];
  return what && end ? { type: "limited", what, end } : { type: "limited" };
}

/**
 * Reads records to the end of the message.
 *
 * @template T
 * @param {Reader} reader @param {(reader: Reader) => T} read
 */
function each(reader, read) {
  const records = [];
  while (!reader.isEmpty) records.push(read(reader));
  return records;
}

/** @param {Reader} reader @returns {Part} */
function readPart(reader) {
  const [file, chunk, offset] = [reader.u32(), reader.u32(), reader.u32()];
  const bytes = reader.take(reader.u32());
  if (bytes.length === 0) throw new Refused("out-of-range");
  return { file, chunk, offset, bytes };
}

/** @param {Reader} reader @returns {ChunkHash} */
const readHash = (reader) => ({ file: reader.u32(), chunk: reader.u32(), hash: reader.take(32) });

/** @param {Reader} reader @returns {Finished} */
const readFinished = (reader) => ({ file: reader.u32(), size: reader.u64(), digest: reader.take(32) });

/** @param {Reader} reader @returns {Range} */
function readRange(reader) {
  const [first, end] = [reader.u32(), reader.u32()];
  if (first >= end) throw new Refused("out-of-range");
  return [first, end];
}

/** @param {Reader} reader @returns {Wanted} */
function readWanted(reader) {
  const files = readRange(reader);
  const [first, end] = [reader.u32(), reader.u32()];
  const isWhole = first === 0 && end === TO_THE_END;
  if (first > end || (files[1] - files[0] > 1 && !isWhole)) throw new Refused("out-of-range");
  return { files, chunks: [first, end] };
}

