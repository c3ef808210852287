/**
 * Keeps what a receiver has verified in the browser's private folder (OPFS), so that a reload does not
 * lose it: the bytes of chunks in one file, and in another what each of them is; both only grow. A
 * worker of the page, since browsers let nothing else write in place. It knows nothing of what it keeps,
 * and whoever reads it again checks it again.
 */

import { FOLDER } from "./store/place.js";

const scope = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** File, chunk and length, as u32 each. */
const NOTE = 12;

/** A tab that is being reloaded may hold the files a moment longer, in milliseconds. */
const RETRY = 50;
const RETRIES = 60;

/** @typedef {{ bytes: FileSystemSyncAccessHandle, index: FileSystemSyncAccessHandle, end: number, noted: number }} Open */

/** @type {Open | undefined} */
let open;

const folder = async () => (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });

/** @param {string} name @returns {Promise<FileSystemSyncAccessHandle>} */
async function access(name) {
  const handle = await (await folder()).getFileHandle(name, { create: true });
  for (let tries = 0; ; tries++) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (error) {
      if (tries === RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

/** What is kept: triples of numbers. What was cut off in the middle is not. */
function notes() {
  const { bytes, index } = /** @type {Open} */ (open);
  const raw = new Uint8Array(index.getSize());
  index.read(raw, { at: 0 });
  const view = new DataView(raw.buffer);
  const [found, size] = [/** @type {number[]} */ ([]), bytes.getSize()];
  let [end, noted] = [0, 0];
  for (; noted + NOTE <= raw.length; noted += NOTE) {
    const length = view.getUint32(noted + 8);
    if (end + length > size) break;
    found.push(view.getUint32(noted), view.getUint32(noted + 4), length);
    end += length;
  }
  bytes.truncate(end);
  index.truncate(noted);
  Object.assign(/** @type {Open} */ (open), { end, noted });
  return found;
}

const close = () => {
  open?.bytes.close();
  open?.index.close();
  open = undefined;
};

const calls = {
  /** @param {{ id: string }} of */
  async open({ id }) {
    open = { bytes: await access(`${id}.bytes`), index: await access(`${id}.index`), end: 0, noted: 0 };
    return notes();
  },

  /** @param {{ file: number, chunk: number, bytes: Uint8Array<ArrayBuffer> }} chunk */
  append({ file, chunk, bytes }) {
    if (!open) throw new Error("nothing is open");
    if (open.bytes.write(bytes, { at: open.end }) !== bytes.length) throw new Error("no room");
    const note = new DataView(new ArrayBuffer(NOTE));
    [file, chunk, bytes.length].forEach((number, at) => note.setUint32(4 * at, number));
    if (open.index.write(note, { at: open.noted }) !== NOTE) throw new Error("no room");
    open.end += bytes.length;
    open.noted += NOTE;
  },

  /** @param {{ at: number, length: number }} place */
  read({ at, length }) {
    const bytes = new Uint8Array(length);
    if (open?.bytes.read(bytes, { at }) !== length) throw new Error("it is gone");
    return bytes;
  },

  close,

  /** Removes what is kept under a name. @param {{ id: string }} of */
  async remove({ id }) {
    close();
    const kept = await folder();
    for (const name of [`${id}.bytes`, `${id}.index`]) await kept.removeEntry(name).catch(() => {});
    // When it was the last, nothing is left.
    await (await navigator.storage.getDirectory()).removeEntry(FOLDER).catch(() => {});
  },
};

/** One call after the other. */
let order = Promise.resolve();

scope.onmessage = ({ data: { request, call, ...options } }) => {
  order = order.then(async () => {
    try {
      const value = await calls[/** @type {keyof typeof calls} */ (call)](options);
      scope.postMessage({ request, value }, value instanceof Uint8Array ? [value.buffer] : []);
    } catch (error) {
      scope.postMessage({ request, error: String(error) });
    }
  });
};
