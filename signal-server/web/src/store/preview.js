/**
 * What can be looked at while it arrives: keeps verified parts within reach, and lets the service
 * worker answer the browser's requests for ranges with them, so that a film plays before it is whole.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Entry } from "../proto/manifest.js"
 * @import { Store } from "../proto/receiver.js"
 * @typedef {"video" | "audio" | "image" | "text" | "pdf"} Kind
 */

import { concat, hex, random } from "../proto/bytes.js";
import { canDownload } from "./download.js";
import { isSingle } from "./sequence.js";

/** What a browser shows, by the end of its name: a type that it is given, so that it guesses none. */
const TYPES = new Map([
  ["mp4", "video/mp4"],
  ["m4v", "video/mp4"],
  ["mov", "video/mp4"],
  ["webm", "video/webm"],
  ["mp3", "audio/mpeg"],
  ["m4a", "audio/mp4"],
  ["ogg", "audio/ogg"],
  ["opus", "audio/ogg"],
  ["wav", "audio/wav"],
  ["flac", "audio/flac"],
  ["png", "image/png"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["gif", "image/gif"],
  ["webp", "image/webp"],
  ["avif", "image/avif"],
  ["pdf", "application/pdf"],
  ["txt", "text/plain"],
  ["md", "text/plain"],
  ["log", "text/plain"],
  ["csv", "text/plain"],
  ["json", "text/plain"],
]);

/** Larger files are not kept twice. */
const MOST_KEPT = 4_000_000_000;

/** How much of a text is shown. */
export const MOST_TEXT = 64 * 1024;

/** A worker that nothing is said to ends after half a minute. */
const KEEP_ALIVE = 10_000;

/** The type of an offer that can be looked at while it arrives. @param {Entry[]} entries */
export function typeOf(entries) {
  if (!isSingle(entries) || entries[0].kind !== "file" || !canDownload()) return undefined;
  const { path, size } = entries[0];
  const type = TYPES.get(path[0].split(".").at(-1)?.toLowerCase() ?? "");
  return size > 0 && size <= MOST_KEPT ? type : undefined;
}

/** @param {string} type */
export const kindOf = (type) => /** @type {Kind} */ (type === "application/pdf" ? "pdf" : type.split("/")[0]);

/** Whether what is at the end is needed first: many files have there what tells where everything is. @param {string} type */
export const needsEnd = (type) => ["video", "audio"].includes(kindOf(type));

/** Passes everything on, and keeps it. @implements {Store} */
export class PreviewStore {
  /** @param {Store} inner @param {Entry} entry @param {string} type */
  constructor(inner, entry, type) {
    this.inner = inner;
    this.entry = entry;
    this.type = type;
    this.confirmsEach = inner.confirmsEach;
    /** Verified parts by where they begin, in the browser's keeping. @type {Map<number, Blob>} */
    this.parts = new Map();
    this.size = entry.size;
    /** The length of every part but the last. */
    this.step = 0;
    /** @type {(() => void)[]} */
    this.waiting = [];
    this.isOver = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  /** @param {number} file @param {number} position @param {Bytes} bytes */
  async write(file, position, bytes) {
    this.step = Math.max(this.step, bytes.length);
    this.parts.set(position, new Blob([bytes]));
    this.#wake();
    await this.inner.write(file, position, bytes);
  }

  #wake() {
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach((wake) => wake());
  }

  /** Bytes from a place on, at least one and at most so many, once they are here. @param {number} start @param {number} most */
  async read(start, most) {
    for (;;) {
      const at = this.step > 0 ? Math.floor(start / this.step) * this.step : 0;
      const part = this.parts.get(at);
      if (part && start < at + part.size) {
        const slice = part.slice(start - at, Math.min(start - at + most, part.size));
        return new Uint8Array(await slice.arrayBuffer());
      }
      if (this.isOver) throw new Error("it will not come");
      await new Promise((resolve) => this.waiting.push(() => resolve(undefined)));
    }
  }

  /** The first bytes, once they are here. @param {number} most */
  async start(most) {
    const parts = [];
    for (let at = 0; at < Math.min(most, this.size); at += parts[parts.length - 1].length) {
      parts.push(await this.read(at, Math.min(most, this.size) - at));
    }
    return concat(parts);
  }

  /** An address at which the browser finds it, ending in its name. */
  async url() {
    const registration = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    const id = hex(random(16));
    port1.onmessage = ({ data }) => this.#asked(port1, data);
    const { type, size } = this;
    registration.active?.postMessage({ type: "preview", id, contentType: type, size }, [port2]);
    this.timer = setInterval(() => registration.active?.postMessage({ type: "alive" }), KEEP_ALIVE);
    const [name] = this.entry.path;
    return new URL(`preview/${id}/${encodeURIComponent(name)}`, registration.scope).href;
  }

  /** @param {MessagePort} port @param {{ request: number, start: number, most: number }} asked */
  async #asked(port, { request, start, most }) {
    try {
      const bytes = await this.read(start, most);
      port.postMessage({ request, bytes }, [bytes.buffer]);
    } catch {
      port.postMessage({ request });
    }
  }

  /** Nobody looks at it any more. */
  forget() {
    clearInterval(this.timer);
    this.parts.clear();
  }

  /** @param {number} file */
  finish(file) {
    return this.inner.finish(file);
  }

  /** @param {number} file */
  discard(file) {
    return this.inner.discard(file);
  }

  async close() {
    this.isOver = true;
    this.#wake();
    await this.inner.close();
  }

  async abort() {
    this.isOver = true;
    this.#wake();
    this.forget();
    await this.inner.abort();
  }
}
