/**
 * A download that the browser saves as it arrives: the page hands verified bytes to its service
 * worker, which answers a request with them. A download that is not whole fails in the browser.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Output } from "./sequence.js"
 */

import { hex, random } from "../proto/bytes.js";
import { Failure } from "../net/failure.js";

/** A worker that nothing is said to ends after half a minute. */
const KEEP_ALIVE = 10_000;

/** How long the worker and the browser may take to begin, in milliseconds. */
const PATIENCE = 15_000;

/** Whether the page is told to go somewhere that is a download, which does not leave it. */
export const navigation = { isDownload: false };

/** Whether this page can have such downloads. */
export const canDownload = () => isSecureContext && "serviceWorker" in navigator;

/** Has the worker ready before it is needed. */
export async function prepareDownloads() {
  if (canDownload()) await navigator.serviceWorker.register("worker.js").catch(() => {});
}

/** @implements {Output} */
export class DownloadOutput {
  /** @param {MessagePort} port @param {ServiceWorker} worker */
  constructor(port, worker) {
    this.port = port;
    /** Asked for by the browser, and not given yet. */
    this.asked = 0;
    this.wake = () => {};
    this.isCancelled = false;
    this.isOver = false;
    port.onmessage = ({ data }) => this.#heard(data);
    this.timer = setInterval(() => worker.postMessage({ type: "alive" }), KEEP_ALIVE);
  }

  /**
   * Begins a download.
   *
   * @param {string} name @param {number | undefined} size in bytes, when it is known
   */
  static async begin(name, size) {
    const registration = await within(navigator.serviceWorker.ready);
    const worker = registration.active;
    if (!worker) throw new Failure("disk", { detail: "no worker" });
    const { port1, port2 } = new MessageChannel();
    const id = hex(random(16));
    const output = new DownloadOutput(port1, worker);
    const accepted = new Promise((resolve) => (output.wake = () => resolve(undefined)));
    worker.postMessage({ type: "download", id, name, size }, [port2]);
    await within(accepted);
    output.asked = 0;
    navigation.isDownload = true;
    try {
      location.href = new URL(`download/${id}/${encodeURIComponent(name)}`, registration.scope).href;
      await within(output.#room());
    } finally {
      navigation.isDownload = false;
    }
    return output;
  }

  /** @param {"pull" | "ready" | "cancel"} said */
  #heard(said) {
    if (said === "cancel") this.isCancelled = true;
    else this.asked++;
    this.wake();
  }

  /** Waits until the browser takes more. */
  async #room() {
    while (this.asked === 0) {
      if (this.isCancelled) throw new Failure("interrupted", { detail: "the download was stopped" });
      await new Promise((resolve) => (this.wake = () => resolve(undefined)));
    }
    if (this.isCancelled) throw new Failure("interrupted", { detail: "the download was stopped" });
  }

  /** @param {Bytes} bytes */
  async write(bytes) {
    await this.#room();
    this.asked--;
    // The bytes may be a part of a message; the worker gets its own.
    const copy = bytes.slice();
    this.port.postMessage({ bytes: copy }, [copy.buffer]);
  }

  async close() {
    await this.#room();
    this.#end({ end: true });
  }

  async abort() {
    if (!this.isOver) this.#end({ failed: true });
  }

  /** @param {object} last */
  #end(last) {
    this.isOver = true;
    clearInterval(this.timer);
    this.port.postMessage(last);
  }
}

/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
function within(promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Failure("disk", { detail: "the browser does not begin the download" })), PATIENCE));
  return /** @type {Promise<T>} */ (Promise.race([promise, late]));
}
