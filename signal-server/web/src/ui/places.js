/**
 * Where received files can go in a browser, and where they went on when that was interrupted.
 *
 * @import { Entry, Offer } from "../proto/manifest.js"
 * @import { Store } from "../proto/receiver.js"
 * @import { Place } from "../store/journal.js"
 * @typedef {{ store: Store, blob?: BlobOutput, place?: Place }} Opened `place` when it can be gone on with after a reload
 * @typedef {{ label: string, open: () => Promise<Opened> }} Destination
 */

import { DownloadOutput, canDownload } from "../store/download.js";
import { FolderStore, fileOutput } from "../store/folder.js";
import { BlobOutput, MOST_IN_MEMORY } from "../store/memory.js";
import { SequenceStore, isSingle } from "../store/sequence.js";

/** What the file, or the archive, is called. @param {Entry[]} entries */
export function fileName(entries) {
  if (isSingle(entries)) return entries[0].kind === "stream" ? "stream" : entries[0].path[0];
  const items = entries.filter(({ path }) => path.length === 1);
  return items.length === 1 ? `${items[0].path[0]}.zip` : "files.zip";
}

/** Where the files can go in this browser, the best first. @param {Offer} offer @param {Place} [before] where they went @returns {Destination[]} */
export function destinations({ entries, bytes }, before) {
  if (entries[0].kind === "text") return [memory(entries, "Show it")];
  const places = [];
  if (isSingle(entries)) {
    if ("showSaveFilePicker" in window) places.push(saveAs(entries));
  } else if ("showDirectoryPicker" in window) {
    places.push(folder(entries, before));
  }
  if (canDownload()) places.push(download(entries));
  else if (places.length === 0 && bytes <= MOST_IN_MEMORY) places.push(memory(entries, "Accept"));
  return places;
}

/** @param {Entry[]} entries @returns {Destination} */
const saveAs = (entries) => ({
  label: "Save as…",
  async open() {
    const handle = await /** @type {any} */ (window).showSaveFilePicker({ suggestedName: fileName(entries) });
    return into({ kind: "file", handle }, entries);
  },
});

/** @param {Entry[]} entries @param {Place | undefined} before @returns {Destination} */
const folder = (entries, before) => ({
  label: "Save into a folder…",
  async open() {
    const handle = await /** @type {any} */ (window).showDirectoryPicker({ mode: "readwrite", id: "p2pshare" });
    const isSame = before?.kind === "folder" && (await handle.isSameEntry(before.handle));
    return into({ kind: "folder", handle, names: isSame ? before.names : new Map() }, entries);
  },
});

/** @param {Entry[]} entries @returns {Destination} */
const download = (entries) => ({
  label: isSingle(entries) ? "Download" : "Download as a zip",
  open: () => into({ kind: "download" }, entries),
});

/** @param {Entry[]} entries @param {string} label @returns {Destination} */
const memory = (entries, label) => ({
  label,
  async open() {
    const blob = new BlobOutput();
    return { store: new SequenceStore(entries, blob), blob };
  },
});

/** Whether the browser lets this page write there; it may ask its user, who must have clicked. @param {Place} place */
export async function isAllowed(place) {
  if (place.kind === "download") return true;
  const handle = /** @type {any} */ (place.handle);
  return (await handle.requestPermission?.({ mode: "readwrite" }) ?? "granted") === "granted";
}

/** Opens a place, for the first time or again. @param {Place} place @param {Entry[]} entries @returns {Promise<Opened>} */
export async function into(place, entries) {
  if (place.kind === "file") return { store: new SequenceStore(entries, await fileOutput(place.handle)), place };
  if (place.kind === "folder") {
    const store = new FolderStore(entries, place.handle, place.names);
    await store.prepare();
    return { store, place: { ...place, names: store.items } };
  }
  const [{ kind, size }] = entries;
  const output = await DownloadOutput.begin(fileName(entries), isSingle(entries) && kind !== "stream" ? size : undefined);
  return { store: new SequenceStore(entries, output), place };
}

/** Removes the empty file that choosing a name has made. @param {Place} place */
export async function cleared(place) {
  if (place.kind !== "file") return;
  const empty = await place.handle.getFile().then(({ size }) => size === 0, () => false);
  if (empty && "remove" in place.handle) await /** @type {any} */ (place.handle).remove().catch(() => {});
}
