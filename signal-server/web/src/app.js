/**
 * The page: what is shown first, and what a person can begin from there. Nothing is claimed, and no
 * server is asked for anything, before a click.
 */

import { isLan, parseCode, parseInvitation, reveal } from "./proto/code.js";
import { Refused } from "./proto/wire.js";
import { navigation, prepareDownloads } from "./store/download.js";
import { Kept } from "./store/kept.js";
import { button, byId, heading, make, show } from "./ui/dom.js";
import { interrupted } from "./ui/kept.js";
import { MAX_TEXT, Selection, ofInput, ofTransfer } from "./ui/pick.js";
import { goOn, ready, receive } from "./ui/receive.js";
import { selected, sendText } from "./ui/send.js";

/** States from which a dropped file, or another link, may begin something new. */
const IDLE = ["home", "ready", "selected", "kept"];

/** @type {Record<string, string>} */
const CODE_ERRORS = {
  "code-empty": "Type the code that the sender sees.",
  "code-too-long": "This is too long for a code.",
  "code-nameplate": "A code begins with a number.",
  "code-word-count": "A code has three words or more after the number.",
  "code-unknown-word": "One of the words is not a word of codes. Check its spelling.",
  "code-host": "What follows the @ is no address.",
  "code-missing-in-link": "This link holds no code.",
};

let selection = new Selection();

/** What is offered to be gone on with. @type {Kept | undefined} */
let before;

/** Leaves it for another time, or another tab. */
async function putAside() {
  const kept = before;
  before = undefined;
  await kept?.leave();
}

function goHome() {
  history.replaceState(null, "", location.pathname);
  selection = new Selection();
  begin();
}

/** @param {string} [typed] @param {string} [problem] */
function home(typed = "", problem) {
  const input = make("input", {
    id: "typed",
    name: "code",
    type: "text",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    placeholder: "7-croissant-clipboard-banana",
    "aria-describedby": problem ? "problem" : undefined,
    "aria-invalid": problem ? "true" : undefined,
  });
  input.value = typed;
  const form = make(
    "form",
    { onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), submit(input.value)) },
    make("label", { for: "typed" }, "Code from the sender"),
    input,
    problem && make("p", { class: "warning", id: "problem" }, problem),
    make("button", { type: "submit", id: "claim", class: "primary" }, "Receive"),
  );
  show(
    "home",
    problem ?? "Send or receive files",
    heading("Send files straight from one device to another"),
    make("section", { class: "panel", "aria-label": "Receive" }, make("h2", {}, "Receive"), form),
    make(
      "section",
      { class: "panel drop", "aria-label": "Send" },
      make("h2", {}, "Send"),
      make("p", {}, "Choose, drop or paste files. They go from here to the other device, encrypted, and are stored nowhere in between."),
      make(
        "div",
        { class: "actions" },
        button("Choose files", pickFiles, { id: "choose", class: "primary" }),
        canPickFolders() && button("Choose a folder", pickFolder, { id: "choose-folder", class: "secondary" }),
      ),
    ),
  );
  if (problem) input.focus();
}

/** @param {string} typed */
function submit(typed) {
  try {
    const { code, place } = parseInvitation(typed);
    if (place !== "unsaid" && elsewhere(place)) return home(typed, `This code is for another server. Open ${elsewhere(place)} instead.`);
    if (isLan(code.nameplate) && place === "unsaid" && !isNear()) {
      return home(typed, "A code with lan works in the sender's own network: open the link that the sender shows, or use p2pshare in a terminal.");
    }
    receive(code, goHome);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    home(typed, CODE_ERRORS[error.kind] ?? "This is no code.");
  }
}

/** The address where a code is good, when that is not here. @param {import("./proto/code.js").Place & object} place */
function elsewhere(place) {
  const start = "link" in place ? place.link : `http://${place.host.includes(":") ? `[${place.host}]` : place.host}:${place.port ?? 9477}/`;
  try {
    return new URL(start).host === location.host ? undefined : start;
  } catch {
    return start;
  }
}

/** Whether the page was served in the local network, where codes with `lan` are good. */
const isNear = () => /^(?:localhost|[\d.]+|\[.*\]|.*\.local)$/.test(location.hostname);

/** Phones have no folders to pick. */
const canPickFolders = () => "webkitdirectory" in HTMLInputElement.prototype && !matchMedia("(pointer: coarse)").matches;

/** @param {Record<string, unknown>} attributes */
function pick(attributes) {
  const input = make("input", { type: "file", id: "picker", class: "hidden", "aria-hidden": "true", tabindex: -1, multiple: true, ...attributes });
  byId("picker")?.remove();
  document.body.append(input);
  input.addEventListener("change", () => {
    add(ofInput(input.files ?? []));
    input.remove();
  });
  input.click();
}

const pickFiles = () => pick({});
const pickFolder = () => pick({ webkitdirectory: true });

/** @param {import("./ui/pick.js").Picked[]} picked */
function add(picked) {
  if (picked.length === 0) return;
  putAside();
  selection.add(picked);
  selected(selection, pickFiles, goHome);
}

const isIdle = () => IDLE.includes(document.body.dataset.state ?? "");

function watchDrops() {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", isIdle());
  });
  addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    if (isIdle() && event.dataTransfer) add(await ofTransfer(event.dataTransfer));
  });
}

function watchPastes() {
  addEventListener("paste", async (event) => {
    const isTyping = event.target instanceof HTMLInputElement;
    const data = event.clipboardData;
    if (!isIdle() || !data || (isTyping && data.files.length === 0)) return;
    event.preventDefault();
    if (data.files.length > 0) return add(await ofTransfer(data));
    const text = data.getData("text/plain");
    if (isCode(text)) return putAside().then(() => home(text));
    if (text && new Blob([text]).size <= MAX_TEXT) offerText(text);
  });
}

/** @param {string} text */
function isCode(text) {
  try {
    parseInvitation(text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} text */
function offerText(text) {
  putAside();
  const shownText = make("textarea", { readonly: true, rows: 6, "aria-label": "What was pasted" });
  shownText.value = text;
  show(
    "selected",
    "Send what was pasted",
    heading("Send this text"),
    shownText,
    make(
      "div",
      { class: "actions" },
      button("Get a code", () => sendText(text, goHome), { id: "send", class: "primary" }),
      button("Cancel", goHome, { class: "quiet" }),
    ),
  );
}

/** A transfer that was interrupted, a link with a code, or the start. */
async function begin() {
  await putAside();
  const said = decodeURIComponent(location.hash.slice(1));
  const nameplate = /^\d+/.exec(said)?.[0];
  // Another code is for something else; that of the same transfer is used up.
  const kept = await Kept.find(({ reunion }) => !said || (reunion !== undefined && reunion.nameplate === nameplate));
  if (!kept) return linked(said);
  before = kept;
  const proceed = () => {
    before = undefined;
    goOn(kept, goHome);
  };
  interrupted(kept, proceed, () => putAside().then(() => linked(said)));
}

/** A link with a code, or the start. @param {string} said */
function linked(said) {
  if (!said) return home();
  try {
    const code = parseCode(said);
    history.replaceState(null, "", `#${reveal(code)}`);
    ready(code, goHome);
  } catch (error) {
    home(said, error instanceof Refused ? CODE_ERRORS[error.kind] : "This link holds no code.");
  }
}

addEventListener("hashchange", () => isIdle() && begin());
addEventListener("beforeunload", (event) => {
  const isBusy = ["sending", "receiving", "waiting", "asking", "offer"].includes(document.body.dataset.state ?? "");
  if (isBusy && !navigation.isDownload) event.preventDefault();
});
watchDrops();
watchPastes();
begin();
prepareDownloads();
