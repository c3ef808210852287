/**
 * What is known of transfers that were interrupted, in the browser's database: what was offered, where
 * it was to go, and how to meet the sender again. The keys in it open that one meeting, and are removed
 * as soon as the sender is known to be gone.
 *
 * @import { Bytes } from "../proto/bytes.js"
 *
 * @typedef {{ kind: "file", handle: FileSystemFileHandle }
 *   | { kind: "folder", handle: FileSystemDirectoryHandle, names: Map<string, string> }
 *   | { kind: "download" }} Place
 * @typedef {{ url: string, room: Bytes, key: Bytes, nameplate: string, isEmbedded: boolean }} Reunion
 *
 * @typedef {object} Row
 * @property {string} id
 * @property {string} offer a digest of what was offered
 * @property {string} title
 * @property {number} bytes of all that was offered
 * @property {number} started in milliseconds since 1970
 * @property {Place} place
 * @property {Reunion} [reunion]
 */

const NAME = "p2pshare";
const ROWS = "transfers";

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @template T @param {(rows: IDBObjectStore) => IDBRequest<T>} act @returns {Promise<T>} */
async function within(act) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(ROWS, { keyPath: "id" });
  const database = await done(opening);
  try {
    return await done(act(database.transaction(ROWS, "readwrite").objectStore(ROWS)));
  } finally {
    database.close();
  }
}

/** The newest first. @returns {Promise<Row[]>} */
export async function rows() {
  const known = await indexedDB.databases?.();
  if (known && !known.some(({ name }) => name === NAME)) return [];
  const all = await within((rows) => rows.getAll());
  return all.sort((/** @type {Row} */ one, /** @type {Row} */ other) => other.started - one.started);
}

/** @param {Row} row */
export const put = (row) => within((rows) => rows.put(row));

/** Removes one; without any, there is no database either. @param {string} id */
export async function remove(id) {
  await within((rows) => rows.delete(id));
  if ((await within((rows) => rows.count())) === 0) await done(indexedDB.deleteDatabase(NAME)).catch(() => {});
}
