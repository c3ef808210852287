/**
 * The screens of whoever sends: from files to a code, and on to their end.
 *
 * @import { Code } from "../proto/code.js"
 * @import { Entry } from "../proto/manifest.js"
 */

import { serverOf } from "../net/socket.js";
import { reveal } from "../proto/code.js";
import { shown } from "../proto/name.js";
import { Sending } from "../session.js";
import { announce, button, heading, make, show } from "./dom.js";
import { counted, size } from "./format.js";
import { Selection, offerOfText, readerOf } from "./pick.js";
import { Progress } from "./progress.js";
import { qr } from "./qr.js";
import { compare, failed, stage } from "./screens.js";

/** What was picked; more can be added. @param {Selection} selection @param {() => void} pickMore @param {() => void} goHome */
export function selected(selection, pickMore, goHome) {
  const { items, refused } = selection;
  if (items.length === 0) return goHome();
  const rows = items.map(({ name, bytes, files, isFolder }) => {
    const drop = button("Remove", () => {
      selection.remove(name);
      selected(selection, pickMore, goHome);
    }, { class: "quiet small", "aria-label": `Remove ${shown(name)}` });
    const what = isFolder ? `${counted(files, "file")}, ${size(bytes)}` : size(bytes);
    return make("li", {}, make("span", { class: "name" }, shown(name)), make("span", { class: "size" }, what), drop);
  });
  const total = items.reduce((sum, { bytes }) => sum + bytes, 0);
  show(
    "selected",
    `${counted(items.length, "item")} to send, ${size(total)}`,
    heading("Send this"),
    make("ul", { class: "files", id: "files" }, ...rows),
    refused.length > 0 && make("p", { class: "warning" }, `Left out, because no receiver takes such names: ${refused.map(shown).join(", ")}`),
    make(
      "div",
      { class: "actions" },
      button("Get a code", () => send(selection.offer(), goHome), { id: "send", class: "primary" }),
      button("Add more", pickMore, { class: "secondary" }),
      button("Cancel", goHome, { class: "quiet" }),
    ),
  );
}

/** @param {string} text @param {() => void} goHome */
export const sendText = (text, goHome) => send(offerOfText(text), goHome);

/** @param {{ entries: Entry[], files: (File | undefined)[] }} offer @param {() => void} goHome */
function send({ entries, files }, goHome) {
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  const items = entries.filter(({ path }) => path.length === 1);
  const title = items.length === 1 ? shown(items[0].path[0]) : counted(items.length, "item");
  /** @type {Progress | undefined} */
  let progress;
  /** @type {import("../net/connection.js").Path | undefined} */
  let chosen;
  const stop = () => session.cancel();
  const session = new Sending(serverOf(location), entries, readerOf(files), {
    onCode: (code, isAnother) => waiting(code, title, total, isAnother, stop),
    onStage: (name) => {
      if (progress) progress.staged(name);
      else if (name === "connected") asking(title, stop);
      else stage(name, stop);
    },
    onAccepted: () => {
      if (progress) return;
      progress = new Progress("sending", `Sending ${title}`, total, stop);
      if (chosen) progress.over(chosen);
    },
    onWords: (words) =>
      compare(words, (isSame) => {
        session.compared(isSame);
        if (isSame) asking(title, stop);
      }),
    onPath: (path) => {
      chosen = path;
      progress?.over(path);
    },
    onLimited: (limit) => progress?.limitedBy(limit),
    onProgress: (bytes) => progress?.moved(Math.min(bytes, total)),
    onDone: (result) => {
      progress?.end();
      done(title, total, result, goHome);
    },
    onFailed: (failure) => {
      progress?.end();
      failed(failure, goHome);
    },
  });
  show("opening", "Getting a code", heading("Getting a code…"), make("div", { class: "waiting", "aria-hidden": "true" }));
  session.start();
}

/** The code is to be told to somebody. @param {Code} code @param {string} title @param {number} total @param {boolean} isAnother @param {() => void} stop */
function waiting(code, title, total, isAnother, stop) {
  const link = `${location.origin}${location.pathname}#${reveal(code)}`;
  const isOnlyHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  show(
    "waiting",
    `Waiting for the receiver. The code is ${reveal(code)}`,
    heading("Waiting for the receiver"),
    isAnother && make("p", { class: "warning", id: "guessed" }, "Somebody came with a wrong code. This is a new one; the old one is used up."),
    make("p", {}, `${title}, ${size(total)}`),
    make("p", { class: "code", id: "code" }, reveal(code)),
    qr(link, "QR code of the link"),
    make("p", { class: "link" }, make("a", { id: "link", href: link, target: "_blank", rel: "noopener" }, link)),
    isOnlyHere && make("p", { class: "warning" }, "This link works on this device only, since the page was opened at its own address."),
    make("p", { class: "fine" }, "Read the code out, send the link, or let the picture be scanned. Keep this page open."),
    make(
      "div",
      { class: "actions" },
      button("Copy the link", () => copy(link), { id: "copy", class: "primary" }),
      "share" in navigator && button("Share", () => navigator.share({ url: link }).catch(() => {}), { class: "secondary" }),
      button("Stop", stop, { id: "stop", class: "quiet" }),
    ),
  );
}

/** @param {string} link */
async function copy(link) {
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    // Over plain HTTP there is no clipboard; what is selected can be copied by hand.
    getSelection()?.selectAllChildren(/** @type {Node} */ (document.getElementById("link")));
    return announce("The link is selected; copy it");
  }
  const button = document.getElementById("copy");
  if (button) button.textContent = "Copied";
  announce("The link is copied");
}

/** @param {string} title @param {() => void} stop */
function asking(title, stop) {
  show(
    "asking",
    "The receiver is asked whether to accept",
    heading("The receiver is here"),
    make("p", {}, `They are asked whether they want ${title}.`),
    make("div", { class: "waiting", "aria-hidden": "true" }),
    make("div", { class: "actions" }, button("Stop", stop, { id: "stop", class: "quiet" })),
  );
}

/** @param {string} title @param {number} total @param {{ withdrawn: number, skipped: number }} result @param {() => void} goHome */
function done(title, total, { withdrawn, skipped }, goHome) {
  show(
    "done",
    "Sent. The receiver has verified every byte",
    heading("Sent"),
    make("p", {}, `${title}, ${size(total)}: the receiver has verified every byte.`),
    withdrawn > 0 && make("p", { class: "warning" }, `${counted(withdrawn, "file")} changed or could not be read, and ${withdrawn === 1 ? "was" : "were"} left out.`),
    skipped > 0 && make("p", { class: "warning" }, `${counted(skipped, "file")} ${skipped === 1 ? "was" : "were"} not wanted.`),
    make("div", { class: "actions" }, button("Send or receive more", goHome, { id: "again", class: "secondary" })),
  );
}
