/**
 * How a file is cut into chunks, and the digest over their hashes. PROTOCOL.md, "Chunks and
 * digests".
 *
 * @import { Bytes } from "./bytes.js"
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat } from "./bytes.js";

const SMALLEST_CHUNK = 256 * 1024;
const LARGEST_CHUNK = 16 * 1024 * 1024;
const MANY_CHUNKS = 4096;
export const STREAM_CHUNK = 1024 * 1024;

/** How a file of a size is cut; a stream's size is Infinity until its end is known. */
export class Chunking {
  /** @param {number} size @param {number} [chunkSize] */
  constructor(size, chunkSize = chunkSizeOf(size)) {
    this.size = size;
    this.chunkSize = chunkSize;
  }

  static ofStream() {
    return new Chunking(Infinity, STREAM_CHUNK);
  }

  get count() {
    return Math.ceil(this.size / this.chunkSize);
  }

  /** @param {number} chunk */
  start(chunk) {
    return chunk * this.chunkSize;
  }

  /** Bytes of a chunk; 0 or less when there is none. @param {number} chunk */
  length(chunk) {
    return Math.min(this.chunkSize, this.size - this.start(chunk));
  }
}

/** @param {number} size */
function chunkSizeOf(size) {
  let chunkSize = SMALLEST_CHUNK;
  while (chunkSize < LARGEST_CHUNK && Math.ceil(size / chunkSize) >= MANY_CHUNKS) chunkSize *= 2;
  return chunkSize;
}

/** The Merkle tree hash of RFC 6962. @param {Bytes[]} hashes @returns {Bytes} */
export function tree(hashes) {
  if (hashes.length === 0) return /** @type {Bytes} */ (sha256(new Uint8Array()));
  if (hashes.length === 1) return node(0, hashes[0]);
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return node(1, tree(hashes.slice(0, split)), tree(hashes.slice(split)));
}

/** @param {number} kind @param {Bytes[]} parts */
const node = (kind, ...parts) => /** @type {Bytes} */ (sha256(concat([Uint8Array.of(kind), ...parts])));

/**
 * SHA-256 of a chunk: by the browser, away from the page's thread, where it offers that. Over plain
 * HTTP it does not.
 *
 * @param {Bytes} chunk @returns {Promise<Bytes>}
 */
export async function hashChunk(chunk) {
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest("SHA-256", chunk));
  return /** @type {Bytes} */ (sha256(chunk));
}
