/**
 * What a person picked, dropped or pasted, as an offer: folders before what is in them, no name twice.
 *
 * @import { Bytes } from "../proto/bytes.js"
 * @import { Entry } from "../proto/manifest.js"
 * @typedef {{ path: string[], file: File | undefined }} Picked a folder has no file
 */

import { checkPath } from "../proto/name.js";

/** The longest text that goes as a message. */
export const MAX_TEXT = 1024 * 1024;

/** @param {Iterable<File>} files from an input; a folder's have a path @returns {Picked[]} */
export const ofInput = (files) =>
  [...files].map((file) => ({ path: (file.webkitRelativePath || file.name).split("/"), file }));

/** @param {DataTransfer} transfer what was dropped or pasted @returns {Promise<Picked[]>} */
export async function ofTransfer(transfer) {
  // Entries must be asked for before the event is over.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (entries.length === 0) return ofInput(transfer.files);
  const picked = await Promise.all(entries.map((entry) => walk(entry, [])));
  return picked.flat();
}

/** @param {FileSystemEntry} entry @param {string[]} parent @returns {Promise<Picked[]>} */
async function walk(entry, parent) {
  const path = [...parent, entry.name];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject)).catch(() => undefined);
    return file ? [{ path, file }] : [];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const picked = [{ path, file: undefined }];
  // A reader gives a hundred at a time.
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return picked;
    for (const inner of some) picked.push(.../** @type {any} */ (await walk(inner, path)));
  }
}

/** What is to be sent, and what cannot be. */
export class Selection {
  constructor() {
    /** @type {Picked[]} */
    this.picked = [];
    /** Names that no receiver would take. @type {string[]} */
    this.refused = [];
  }

  /** @param {Picked[]} picked */
  add(picked) {
    const taken = new Set(this.picked.map(({ path }) => path[0]));
    /** @type {Map<string, string>} */
    const names = new Map();
    for (const { path, file } of picked) {
      const [item, ...rest] = path;
      if (!names.has(item)) names.set(item, freeName(item, taken));
      const renamed = [/** @type {string} */ (names.get(item)), ...rest];
      try {
        checkPath(renamed);
        this.picked.push({ path: renamed, file });
      } catch {
        this.refused.push(path.join("/"));
      }
    }
  }

  /** Drops an item. @param {string} item */
  remove(item) {
    this.picked = this.picked.filter(({ path }) => path[0] !== item);
  }

  /** Items with their sizes. */
  get items() {
    /** @type {Map<string, { name: string, bytes: number, files: number, isFolder: boolean }>} */
    const items = new Map();
    for (const { path, file } of this.picked) {
      const item = items.get(path[0]) ?? { name: path[0], bytes: 0, files: 0, isFolder: false };
      item.isFolder ||= path.length > 1 || !file;
      item.bytes += file?.size ?? 0;
      item.files += file ? 1 : 0;
      items.set(path[0], item);
    }
    return [...items.values()];
  }

  /** The offer, and the files of its entries. */
  offer() {
    /** @type {Entry[]} */
    const entries = [];
    /** @type {(File | undefined)[]} */
    const files = [];
    const folders = new Set();
    const ordered = this.items.flatMap(({ name }) => this.picked.filter(({ path }) => path[0] === name));
    for (const { path, file } of ordered) {
      for (let depth = 1; depth < path.length + (file ? 0 : 1); depth++) {
        const folder = path.slice(0, depth);
        const key = folder.join("/");
        if (folders.has(key)) continue;
        folders.add(key);
        entries.push({ kind: "directory", path: folder, size: 0, modified: null, executable: false });
        files.push(undefined);
      }
      if (!file) continue;
      entries.push({ kind: "file", path, size: file.size, modified: modifiedOf(file), executable: false });
      files.push(file);
    }
    return { entries, files };
  }
}

/** @param {File} file */
function modifiedOf({ lastModified }) {
  if (!(lastModified >= 0)) return null;
  return { seconds: Math.floor(lastModified / 1000), nanoseconds: (Math.floor(lastModified) % 1000) * 1e6 };
}

/** @param {string} name @param {Set<string>} taken */
function freeName(name, taken) {
  const dot = name.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  let free = name;
  for (let count = 1; taken.has(free); count++) free = `${stem} (${count})${extension}`;
  taken.add(free);
  return free;
}

/** A message instead of files. @param {string} text */
export function offerOfText(text) {
  const file = new File([text], "message.txt");
  /** @type {Entry} */
  const entry = { kind: "text", path: ["message.txt"], size: file.size, modified: null, executable: false };
  return { entries: [entry], files: [file] };
}

/** Reads a part of a file; throws when it has changed since it was picked. @param {(File | undefined)[]} files */
export const readerOf = (files) =>
  async (/** @type {number} */ file, /** @type {number} */ start, /** @type {number} */ length) => {
    const slice = /** @type {File} */ (files[file]).slice(start, start + length);
    /** @type {Bytes} */
    const bytes = new Uint8Array(await slice.arrayBuffer());
    if (bytes.length !== length) throw new Error("the file has changed");
    return bytes;
  };
