/**
 * The screens of whoever receives: from a code, which nothing is done with before a click, to files.
 *
 * @import { Failure } from "../net/failure.js"
 * @import { Code } from "../proto/code.js"
 * @import { Entry, Offer } from "../proto/manifest.js"
 * @import { BlobOutput } from "../store/memory.js"
 * @import { Store } from "../proto/receiver.js"
 * @import { Place } from "../store/journal.js"
 * @import { Destination } from "./places.js"
 */

import { failureOf } from "../net/failure.js";
import { serverOf } from "../net/socket.js";
import { reveal } from "../proto/code.js";
import { shown } from "../proto/name.js";
import { Receiving, canGoOn } from "../session.js";
import { Kept, canKeep, offerDigest } from "../store/kept.js";
import { MOST_IN_MEMORY } from "../store/memory.js";
import { PreviewStore, needsEnd, typeOf } from "../store/preview.js";
import { announce, button, heading, make, show } from "./dom.js";
import { counted, size } from "./format.js";
import { look } from "./look.js";
import { destinations, fileName, into } from "./places.js";
import { Progress } from "./progress.js";
import { failed, stage } from "./screens.js";

/** Items of an offer that are listed. */
const MOST_LISTED = 200;

/** Someone opened a link: says what a click will do. @param {Code} code @param {() => void} goHome */
export function ready(code, goHome) {
  show(
    "ready",
    "Somebody wants to send you files",
    heading("Somebody wants to send you files"),
    make("p", { class: "code", id: "code" }, reveal(code)),
    make("p", {}, "You see what it is before anything is saved. The code works once."),
    make(
      "div",
      { class: "actions" },
      button("Show what it is", () => receive(code, goHome), { id: "get", class: "primary" }),
      button("Not now", goHome, { class: "quiet" }),
    ),
  );
}

/** @param {Code} code @param {() => void} goHome */
export function receive(code, goHome) {
  // The code is used up from here on: a reload must not try it again.
  history.replaceState(null, "", location.pathname);
  new Reception(goHome, undefined).session.start(code);
}

/** Goes on with what was interrupted, with the same sender. @param {Kept} kept @param {() => void} goHome */
export function goOn(kept, goHome) {
  const { reunion } = kept.row;
  if (reunion) new Reception(goHome, kept).session.resume(reunion);
}

/** One transfer, as its receiver sees it. */
class Reception {
  /** @param {() => void} goHome @param {Kept | undefined} kept what is gone on with */
  constructor(goHome, kept) {
    this.kept = kept;
    this.isAccepted = false;
    /** @type {PreviewStore | undefined} */
    this.preview = undefined;
    /** What is unfinished is put away. @type {Promise<void>} */
    this.put = Promise.resolve();
    this.goHome = async () => {
      this.preview?.forget();
      await this.put;
      goHome();
    };
    /** @type {Progress | undefined} */
    this.progress = undefined;
    /** @type {import("../net/connection.js").Path | undefined} */
    this.path = undefined;
    /** @type {string[] | undefined} */
    this.words = undefined;
    /** @type {BlobOutput | undefined} */
    this.blob = undefined;
    this.session = new Receiving(serverOf(location), {
      onStage: (name) => (this.progress ? this.progress.staged(name) : stage(name, () => this.session.cancel(), this.words)),
      onWords: (words) => {
        this.words = words;
        stage("connected", () => this.session.cancel(), words);
      },
      onPath: (path) => {
        this.path = path;
        this.progress?.over(path);
      },
      onLimited: (limit) => this.progress?.limitedBy(limit),
      onProgress: (bytes) => this.progress?.moved(bytes),
      onOffer: (offer) => this.#offered(offer),
      onDone: ({ withdrawn }) => this.#done(withdrawn),
      onFailed: (failure) => this.#failed(failure),
    });
  }

  get offer() {
    return this.session.machine.offer;
  }

  /** What was accepted before is not asked for again. @param {Offer} offer */
  async #offered(offer) {
    const { kept } = this;
    const isKeepable = canKeep() && ["file", "directory"].includes(offer.entries[0].kind);
    const digest = isKeepable ? offerDigest(offer.entries) : "";
    if (kept?.row.offer === digest) return this.#accept(() => into(kept.row.place, offer.entries));
    await kept?.leave();
    // A sender that was started anew may offer the same.
    this.kept = isKeepable ? await Kept.find((row) => row.offer === digest) : undefined;
    if (!this.session.isOver) this.#ask(offer);
    else await this.kept?.leave();
  }

  /** @param {Offer} offer */
  #ask(offer) {
    const { entries } = offer;
    const places = destinations(offer, this.kept?.row.place);
    const title = titleOf(entries);
    const actions = places.map(({ label, open }, index) =>
      button(label, () => this.#accept(open), { id: index === 0 ? "accept" : `accept-${index}`, class: index === 0 ? "primary" : "secondary" }),
    );
    show(
      "offer",
      `${title}, ${size(offer.bytes)}`,
      heading(title),
      make("p", { class: "total", id: "total" }, summaryOf(offer)),
      entries[0].kind === "text" ? undefined : list(entries),
      places.length === 0 ? make("p", { class: "warning", id: "too-large" }, tooLarge()) : undefined,
      isSecureContext ? undefined : plainHttp(),
      this.kept && make("p", { id: "held" }, `You have ${size(this.kept.bytes)} of it from before: only the rest is sent.`),
      this.words && make("p", { class: "fine" }, `Compared words: ${this.words.join(" ")}`),
      make("div", { class: "actions" }, ...actions, button("Decline", () => this.#decline(), { id: "decline", class: "quiet" })),
    );
  }

  #decline() {
    this.isDeclined = true;
    this.session.decline();
  }

  /** @param {Destination["open"]} open */
  async #accept(open) {
    let opened;
    try {
      opened = await open();
    } catch (error) {
      // Whoever closes the picker may choose again.
      if (error instanceof DOMException && error.name === "AbortError") return;
      return this.session.fail(failureOf(error));
    }
    if (this.session.isOver) return opened.store.abort();
    this.isAccepted = true;
    this.blob = opened.blob;
    const { entries, bytes } = this.offer;
    const type = typeOf(entries);
    const preview = type ? new PreviewStore(opened.store, entries[0], type) : undefined;
    this.preview = preview;
    const store = preview ?? opened.store;
    const kept = await this.#keep(store, opened.place);
    if (this.session.isOver) return (kept ?? store).abort();
    const isStream = entries[0].kind === "stream";
    this.progress = new Progress("receiving", `Receiving ${titleOf(entries)}`, isStream ? undefined : bytes, () => this.session.cancel());
    if (this.path) this.progress.over(this.path);
    if (preview) this.progress.add(look(preview));
    this.session.accept(kept ?? store, preview !== undefined && needsEnd(preview.type), kept);
  }

  /** Has what arrives kept until all of it is there, where the browser can do that. @param {Store} store @param {Place | undefined} place */
  async #keep(store, place) {
    const { entries, bytes } = this.offer;
    const { reunion } = this.session;
    if (!place || !canKeep() || entries[0].kind === "stream") return undefined;
    try {
      this.kept ??= await Kept.begin({ offer: offerDigest(entries), title: titleOf(entries), bytes, place, reunion });
      await this.kept.into(store, entries, { place, reunion });
    } catch (error) {
      // As in a private window of some browsers.
      console.info("p2pshare: nothing is kept:", String(error));
      this.kept = undefined;
    }
    return this.kept;
  }

  /** @param {number} withdrawn */
  async #done(withdrawn) {
    this.progress?.end();
    const { entries } = this.offer;
    const isText = entries[0].kind === "text";
    const title = isText ? "The message arrived" : "Received and verified";
    const summary = summaryOf(this.offer);
    const content = await this.#result(entries);
    // What is being watched goes on.
    const watched = document.getElementById("preview");
    show(
      "done",
      title,
      heading(title),
      make("p", {}, isText ? summary : `${titleOf(entries)}: ${summary}`),
      withdrawn > 0 && make("p", { class: "warning" }, `${counted(withdrawn, "file")} could not be sent, and ${withdrawn === 1 ? "is" : "are"} missing.`),
      content,
      watched ?? undefined,
      make("div", { class: "actions" }, button("Receive or send more", this.goHome, { id: "again", class: "secondary" })),
    );
  }

  /** What is left to do with what arrived. @param {Entry[]} entries */
  async #result(entries) {
    const blob = this.blob?.blob;
    if (!blob) return make("p", { class: "fine" }, "Every byte is what the sender read.");
    if (entries[0].kind === "text") return message(await blob.text());
    const url = URL.createObjectURL(blob);
    const link = make("a", { id: "save", class: "primary", href: url, download: fileName(entries) }, "Save");
    return make("div", { class: "actions" }, link);
  }

  /** @param {Failure} failure */
  #failed(failure) {
    this.progress?.end();
    const isOwnWish = !failure.reason && (failure.kind === "declined" || failure.kind === "interrupted");
    this.put = this.#putAway(failure, isOwnWish).catch(() => {});
    if (isOwnWish && (failure.kind === "declined" || (this.kept && !this.isAccepted))) {
      this.goHome();
      return;
    }
    failed(failureOf(failure), this.goHome, this.kept && !this.kept.isForgotten && canGoOn(failure));
  }

  /** @param {Failure} failure @param {boolean} isOwnWish */
  async #putAway(failure, isOwnWish) {
    if (this.isAccepted) await this.session.cleared;
    // Whoever stops the search for the sender, or has no network, may try again.
    else if (isOwnWish || failure.kind === "unreachable") await this.kept?.leave();
    else await this.kept?.abort(canGoOn(failure));
  }
}

/** @param {string} text */
function message(text) {
  const area = make("textarea", { id: "message", readonly: true, rows: 8, "aria-label": "The message" });
  area.value = text;
  const copy = button("Copy", async () => {
    area.select();
    await navigator.clipboard?.writeText(text);
    announce("Copied");
  }, { class: "secondary" });
  return make("div", {}, area, make("div", { class: "actions" }, copy));
}

/** @param {Entry[]} entries */
function titleOf(entries) {
  const items = entries.filter(({ path }) => path.length === 1);
  if (entries[0].kind === "text") return "A message for you";
  return items.length === 1 ? shown(items[0].path[0]) : counted(items.length, "item");
}

/** @param {Offer} offer */
function summaryOf({ entries, bytes }) {
  if (entries[0].kind === "stream") return "A stream of unknown length";
  const files = entries.filter(({ kind }) => kind !== "directory").length;
  return entries.length === 1 ? size(bytes) : `${counted(files, "file")}, ${size(bytes)}`;
}

/** @param {Entry[]} entries */
function list(entries) {
  const listed = entries.filter(({ kind }) => kind !== "directory").slice(0, MOST_LISTED);
  const rest = entries.filter(({ kind }) => kind !== "directory").length - listed.length;
  const items = listed.map((entry) =>
    make("li", {}, make("span", { class: "name" }, shown(entry.path.join("/"))), make("span", { class: "size" }, size(entry.size))),
  );
  return make("ul", { class: "files", id: "files", tabindex: 0, "aria-label": "What is offered" }, ...items, rest > 0 && make("li", {}, `and ${counted(rest, "more file", "more files")}`));
}

const tooLarge = () =>
  `Over plain HTTP your browser can only hold files in memory, and this page takes ${size(MOST_IN_MEMORY)} that way. Use p2pshare in a terminal, or ask for a server with https.`;

const plainHttp = () =>
  make(
    "p",
    { class: "warning", id: "plain-http" },
    `This page came over plain HTTP: somebody in your network could have altered it. Files are held in memory until you save them, up to ${size(MOST_IN_MEMORY)}. For more, or to be sure, use p2pshare in a terminal.`,
  );
