/**
 * Where the browser offers nothing else, as over plain HTTP: files are held by the browser until the
 * user saves them. Blobs are not in the page's own memory, but they are limited all the same.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Output } from "./sequence.js"
 */

/** The most that is received this way, in bytes. */
export const MOST_IN_MEMORY = 1_000_000_000;

/** @implements {Output} */
export class BlobOutput {
  constructor() {
    /** @type {Blob[]} */
    this.parts = [];
    /** @type {Blob | undefined} */
    this.blob = undefined;
  }

  /** @param {Bytes} bytes */
  async write(bytes) {
    this.parts.push(new Blob([bytes]));
  }

  async close() {
    this.blob = new Blob(this.parts, { type: "application/octet-stream" });
    this.parts = [];
  }

  async abort() {
    this.parts = [];
  }
}
