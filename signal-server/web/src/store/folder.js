/**
 * Where the browser lets a page write files itself (File System Access): one file that the user named,
 * or files beneath a folder that the user picked. The browser keeps what is written apart until it is
 * closed, so that nothing unfinished bears the name.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Entry } from "../proto/manifest.js"
 * @import { Store } from "../proto/receiver.js"
 * @import { Output } from "./sequence.js"
 */

import { onDisk } from "../net/failure.js";
import { portable } from "../proto/name.js";

/** A file that the user named. @param {FileSystemFileHandle} handle @returns {Promise<Output>} */
export async function fileOutput(handle) {
  const writable = await onDisk(handle.createWritable());
  return {
    write: (bytes) => onDisk(writable.write(bytes)),
    close: () => onDisk(writable.close()),
    async abort() {
      await writable.abort().catch(() => {});
      // The picker makes the file; one that was there before keeps what it had.
      const { size } = await handle.getFile();
      if (size === 0 && "remove" in handle) await /** @type {any} */ (handle).remove();
    },
  };
}

/** @implements {Store} */
export class FolderStore {
  /** @param {Entry[]} entries @param {FileSystemDirectoryHandle} root @param {Map<string, string>} items names from before */
  constructor(entries, root, items) {
    this.entries = entries;
    this.root = root;
    this.confirmsEach = true;
    /** @type {Map<string, Promise<FileSystemDirectoryHandle>>} */
    this.folders = new Map();
    /** What each item is called here. */
    this.items = new Map(items);
    /** @type {Map<number, FileSystemWritableFileStream>} */
    this.open = new Map();
  }

  /** Names for everything that was offered: none that is there already. */
  async prepare() {
    for (const { path, kind } of this.entries) {
      if (path.length === 1 && !this.items.has(path[0])) this.items.set(path[0], await this.#freeName(portable(path[0]), kind === "directory"));
    }
  }

  /** @param {string} name @param {boolean} isFolder */
  async #freeName(name, isFolder) {
    const dot = isFolder ? -1 : name.lastIndexOf(".");
    const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    const taken = new Set(this.items.values());
    for (let count = 0; ; count++) {
      const candidate = count === 0 ? name : `${stem} (${count})${extension}`;
      if (!taken.has(candidate) && !(await this.#isThere(candidate))) return candidate;
    }
  }

  /** @param {string} name */
  async #isThere(name) {
    try {
      await this.root.getFileHandle(name);
    } catch (error) {
      return !(error instanceof DOMException && error.name === "NotFoundError");
    }
    return true;
  }

  /** @param {string[]} path of a folder @returns {Promise<FileSystemDirectoryHandle>} */
  #folder(path) {
    if (path.length === 0) return Promise.resolve(this.root);
    const key = path.join("/");
    let folder = this.folders.get(key);
    if (!folder) {
      const name = this.#named(path);
      folder = this.#folder(path.slice(0, -1)).then((parent) => onDisk(parent.getDirectoryHandle(name, { create: true })));
      this.folders.set(key, folder);
    }
    return folder;
  }

  /** @param {string[]} path */
  #named(path) {
    const name = path[path.length - 1];
    return path.length === 1 ? (this.items.get(name) ?? portable(name)) : portable(name);
  }

  /** @param {number} file */
  async #writable(file) {
    let writable = this.open.get(file);
    if (!writable) {
      const { path } = this.entries[file];
      const parent = await this.#folder(path.slice(0, -1));
      const handle = await onDisk(parent.getFileHandle(this.#named(path), { create: true }));
      writable = await onDisk(handle.createWritable());
      this.open.set(file, writable);
    }
    return writable;
  }

  /** @param {number} file @param {number} position @param {Bytes} bytes */
  async write(file, position, bytes) {
    await onDisk((await this.#writable(file)).write({ type: "write", position, data: bytes }));
  }

  /** @param {number} file */
  async finish(file) {
    const { kind, path } = this.entries[file];
    if (kind === "directory") {
      await this.#folder(path);
      return;
    }
    await onDisk((await this.#writable(file)).close());
    this.open.delete(file);
  }

  /** @param {number} file */
  async discard(file) {
    const writable = this.open.get(file);
    this.open.delete(file);
    if (!writable) return;
    await writable.abort().catch(() => {});
    const { path } = this.entries[file];
    await (await this.#folder(path.slice(0, -1))).removeEntry(this.#named(path)).catch(() => {});
  }

  async close() {}

  async abort() {
    for (const file of [...this.open.keys()]) await this.discard(file);
  }
}
