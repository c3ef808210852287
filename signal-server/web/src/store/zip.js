/**
 * A zip archive as it is written to a stream: nothing is compressed, sizes and checksums follow each
 * file, and Zip64 where 32 bits are too few. APPNOTE.TXT 6.3.10.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @typedef {{ name: Bytes, isFolder: boolean, modified: number, size: number, crc: number, at: number, executable: boolean }} Member
 */

import { concat, utf8 } from "../proto/bytes.js";

const MAX_32 = 0xffffffff;

/** @type {Uint32Array} */
const TABLES = new Uint32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  TABLES[byte] = crc;
}
for (let at = 256; at < TABLES.length; at++) {
  TABLES[at] = (TABLES[at - 256] >>> 8) ^ TABLES[TABLES[at - 256] & 255];
}

/** CRC-32, eight bytes at a time. @param {number} before @param {Bytes} bytes */
export function crc32(before, bytes) {
  let crc = ~before;
  let at = 0;
  for (const end = bytes.length - 7; at < end; at += 8) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc =
      TABLES[1792 + (crc & 255)] ^
      TABLES[1536 + ((crc >>> 8) & 255)] ^
      TABLES[1280 + ((crc >>> 16) & 255)] ^
      TABLES[1024 + (crc >>> 24)] ^
      TABLES[768 + bytes[at + 4]] ^
      TABLES[512 + bytes[at + 5]] ^
      TABLES[256 + bytes[at + 6]] ^
      TABLES[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ TABLES[(crc ^ bytes[at]) & 255];
  return ~crc >>> 0;
}

/** Little-endian numbers, each with its width in bytes. @param {[number, number][]} numbers @returns {Bytes} */
function littleEndian(...numbers) {
  const bytes = [];
  for (const [number, width] of numbers) {
    for (let at = 0, rest = number; at < width; at++, rest = Math.floor(rest / 256)) bytes.push(rest % 256);
  }
  return Uint8Array.from(bytes);
}

/** Date and time as MS-DOS has them, local, from 1980 on. @param {number} time in milliseconds */
function dosTime(time) {
  const date = new Date(Math.max(time, new Date(1980, 0, 1).getTime()));
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const clock = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return day * 65536 + clock;
}

/** Zip64 in the local header says that the sizes after the file have 64 bits, which is always right. */
const VERSION = 45;
/** Sizes follow the data; names are UTF-8. */
const FLAGS = 0x0808;
const FOLDER_FLAGS = 0x0800;

export class Zip {
  constructor() {
    /** @type {Member[]} */
    this.members = [];
    this.written = 0;
  }

  /** What precedes a file or folder. @param {string[]} path @param {boolean} isFolder @param {number} modified in milliseconds @param {boolean} executable */
  begin(path, isFolder, modified, executable) {
    const name = utf8(path.join("/") + (isFolder ? "/" : ""));
    this.members.push({ name, isFolder, modified, size: 0, crc: 0, at: this.written, executable });
    const extra = isFolder ? new Uint8Array() : littleEndian([1, 2], [16, 2], [0, 8], [0, 8]);
    const sizes = isFolder ? 0 : MAX_32;
    const header = littleEndian(
      [0x04034b50, 4],
      [VERSION, 2],
      [isFolder ? FOLDER_FLAGS : FLAGS, 2],
      [0, 2],
      [dosTime(modified), 4],
      [0, 4],
      [sizes, 4],
      [sizes, 4],
      [name.length, 2],
      [extra.length, 2],
    );
    return this.#out(concat([header, name, extra]));
  }

  /** The bytes themselves go out after this has seen them. @param {Bytes} bytes */
  data(bytes) {
    const member = this.members[this.members.length - 1];
    member.crc = crc32(member.crc, bytes);
    member.size += bytes.length;
    return this.#out(bytes);
  }

  /** What follows a file. */
  end() {
    const { crc, size } = this.members[this.members.length - 1];
    return this.#out(littleEndian([0x08074b50, 4], [crc, 4], [size, 8], [size, 8]));
  }

  /** What ends the archive. */
  close() {
    const start = this.written;
    for (const member of this.members) this.#out(this.#entry(member));
    const directory = concat(this.members.map((member) => this.#entry(member)));
    const [size, count] = [directory.length, this.members.length];
    const end64 = littleEndian(
      [0x06064b50, 4],
      [44, 8],
      [VERSION, 2],
      [VERSION, 2],
      [0, 4],
      [0, 4],
      [count, 8],
      [count, 8],
      [size, 8],
      [start, 8],
      [0x07064b50, 4],
      [0, 4],
      [start + size, 8],
      [1, 4],
    );
    const few = Math.min(count, 0xffff);
    const end = littleEndian(
      [0x06054b50, 4],
      [0, 4],
      [few, 2],
      [few, 2],
      [Math.min(size, MAX_32), 4],
      [Math.min(start, MAX_32), 4],
      [0, 2],
    );
    return concat([directory, end64, end]);
  }

  /** @param {Member} member */
  #entry({ name, isFolder, modified, size, crc, at, executable }) {
    const extra = littleEndian([1, 2], [24, 2], [size, 8], [size, 8], [at, 8]);
    const mode = isFolder ? 0o40755 : executable ? 0o100755 : 0o100644;
    const header = littleEndian(
      [0x02014b50, 4],
      // Made on Unix, so that the mode counts.
      [VERSION, 1],
      [3, 1],
      [VERSION, 2],
      [isFolder ? FOLDER_FLAGS : FLAGS, 2],
      [0, 2],
      [dosTime(modified), 4],
      [crc, 4],
      [MAX_32, 4],
      [MAX_32, 4],
      [name.length, 2],
      [extra.length, 2],
      [0, 2],
      [0, 2],
      [0, 2],
      [mode * 65536 + (isFolder ? 0x10 : 0), 4],
      [MAX_32, 4],
    );
    return concat([header, name, extra]);
  }

  /** @param {Bytes} bytes */
  #out(bytes) {
    this.written += bytes.length;
    return bytes;
  }
}
