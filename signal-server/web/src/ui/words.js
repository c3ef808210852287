/**
 * Every sentence about how it stands and what went wrong, with what to do then.
 *
 * @import { Failure } from "../net/failure.js"
 * @import { Reason } from "../proto/reason.js"
 */

/** @type {Record<string, [string, string]>} */
const FAILURES = {
  unreachable: ["The server does not answer.", "Check that this device is online, and try again."],
  "no-such-code": [
    "Nobody is waiting behind this code.",
    "A code works once and only while its sender waits. Ask the sender for a new one.",
  ],
  busy: ["The server has no room left.", "Try again in a few minutes."],
  expired: ["Nobody came.", "Get a new code and try again."],
  "wrong-code": [
    "The code was wrong.",
    "Somebody tried other words, and the code is used up. Start again with a new one.",
  ],
  vanished: ["The other side went away.", "Ask them to start again, with a new code."],
  version: ["The other side speaks another version.", "Reload this page, and update p2pshare on the other side."],
  tampered: [
    "Somebody interfered with the connection.",
    "The server or the network between you changed something. Nothing was accepted. Use another network or server.",
  ],
  "no-path": [
    "No connection between the two devices could be made.",
    "A firewall may be in the way. Try another network, or ask for a server with a relay.",
  ],
  "path-lost": ["The connection was lost for good.", "Start again with a new code."],
  protocol: ["The other side sent something that makes no sense.", "Update p2pshare on both sides, then start again."],
  verification: [
    "What arrived is not what was sent.",
    "The file was thrown away. Start again; if that helps nothing, a disk or memory may be failing.",
  ],
  "words-differ": ["The words differ.", "Somebody is between the two devices. Nothing was told. Use another network or server."],
  page: ["Something went wrong in this page.", "Reload it, and start again with a new code."],
  disk: ["The file could not be written.", "Check for free space, or save it somewhere else."],
  "too-large": ["This is too large to be held in memory.", "Use p2pshare in a terminal, or a server with https."],
  "unsafe-name": [
    "A name in the offer could escape the folder that receives.",
    "Nothing was accepted. Do not trust this sender.",
  ],
  "source-changed": ["A file changed while it was sent.", "Ask the sender to send it again when it is no longer in use."],
};

/** What the peer said when it gave up. @type {Partial<Record<Reason, [string, string]>>} */
const PEER = {
  interrupted: ["The other side stopped.", "Ask them to send it again."],
  declined: ["The other side did not want the files.", "Nothing was sent."],
  disk: ["The other side cannot write the files.", "There may be no room left there."],
  "source-changed": FAILURES["source-changed"],
  verification: FAILURES.verification,
  "unsafe-name": ["The other side refused a name.", "A name that you send could escape its folder. Rename it."],
  "target-exists": ["The other side has a file of that name.", "It is to stay. Nothing was sent."],
  "no-path": FAILURES["no-path"],
};

/** What happened, and what to do. @param {Failure} failure @returns {[string, string]} */
export function explain(failure) {
  if (failure.reason) return PEER[failure.reason] ?? ["The other side gave up.", "Ask them what happened there."];
  if (failure.kind === "interrupted") return ["Stopped.", "Nothing unfinished was kept."];
  const [what, advice] = FAILURES[failure.kind] ?? FAILURES.page;
  const isOwn = failure.kind === "disk" || failure.kind === "page";
  return [what, isOwn && failure.detail ? `${advice} What happened: ${failure.detail}.` : advice];
}

/** @type {Record<string, string>} */
const LIMITS = {
  disk: "the disk",
  processor: "the processor",
  window: "the distance",
  loss: "losses on the line",
  line: "the line",
  relay: "the relay",
  user: "a limit that was set",
};

/** What limits the transfer, in a few words. @param {{ what?: string, end?: string }} limit */
export function limited({ what, end }) {
  const name = what && LIMITS[what];
  if (!name) return "";
  const isHere = what === "disk" || what === "processor";
  return `Limited by ${name}${isHere && end ? ` of the ${end}` : ""}`;
}

/** @type {Record<string, string>} */
export const STAGES = {
  looking: "Looking for the sender",
  searching: "Looking for the same sender",
  checking: "Checking the code",
  connecting: "Connecting the two devices",
  connected: "Connected",
  reconnecting: "The connection was lost. Looking for the other device",
};

/** @param {"direct" | "relay"} path */
export const pathName = (path) => (path === "relay" ? "Through a relay, encrypted" : "Directly between the devices");
