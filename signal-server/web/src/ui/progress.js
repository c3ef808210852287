/**
 * The screen of a transfer under way, in either direction.
 *
 * @import { Path } from "../net/connection.js"
 */

import { announce, button, byId, heading, make, show } from "./dom.js";
import { Rate, duration, size } from "./format.js";
import { STAGES, limited, pathName } from "./words.js";

/** How often the numbers change, in milliseconds: more often nobody can read them. */
const STEP = 250;

export class Progress {
  /** @param {"sending" | "receiving"} state @param {string} title @param {number | undefined} total in bytes @param {() => void} onStop */
  constructor(state, title, total, onStop) {
    this.title = title;
    this.total = total;
    this.rate = new Rate();
    this.bytes = 0;
    this.told = 0;
    this.isConnected = true;
    this.bar = make("progress", { id: "progress", "aria-label": title, max: 1, ...(total === undefined ? {} : { value: 0 }) });
    this.amount = make("span", {}, " ");
    this.pace = make("span", {}, " ");
    const figures = make("p", { class: "figures", id: "figures" }, this.amount, this.pace);
    this.path = make("p", { class: "fine", id: "path" }, " ");
    this.limit = make("p", { class: "fine", id: "limit" }, " ");
    this.stage = make("p", { class: "stage", id: "stage" }, "Waiting for the first bytes");
    const stop = make("div", { class: "actions" }, button("Stop", onStop, { id: "stop", class: "quiet" }));
    show(state, title, heading(title), this.bar, figures, this.stage, this.path, this.limit, stop);
    this.timer = setInterval(() => this.#draw(), STEP);
    this.wake = keepAwake();
  }

  /** Adds something beneath. @param {HTMLElement} element */
  add(element) {
    byId("main").append(element);
  }

  /** @param {number} bytes */
  moved(bytes) {
    this.bytes = bytes;
    this.rate.mark(bytes, performance.now());
  }

  #draw() {
    const { bytes, total } = this;
    const rate = this.rate.get();
    const share = total ? bytes / total : undefined;
    if (share !== undefined) this.bar.value = share;
    const pace = rate ? [`${size(rate)}/s`] : [];
    if (rate && total && bytes < total) pace.push(`${duration((total - bytes) / rate)} left`);
    this.amount.textContent = total === undefined ? size(bytes) : `${size(bytes)} of ${size(total)}`;
    this.pace.textContent = pace.join(" · ");
    if (share !== undefined) this.#tell(share);
    if (this.isConnected) this.stage.textContent = this.#standing();
  }

  #standing() {
    if (this.bytes === 0) return "Waiting for the first bytes";
    const isWhole = this.total !== undefined && this.bytes >= this.total;
    return isWhole ? "Verifying and finishing" : "Every part is verified as it arrives";
  }

  /** Says each quarter aloud, and the percentage in the title. @param {number} share */
  #tell(share) {
    document.title = `${Math.floor(share * 100)} % · p2pshare`;
    const quarter = Math.floor(share * 4);
    if (quarter > this.told && quarter < 4) announce(`${quarter * 25} percent`);
    this.told = Math.max(this.told, quarter);
  }

  /** @param {string} stage */
  staged(stage) {
    this.isConnected = stage === "connected";
    if (this.isConnected) return announce(STAGES[stage]);
    this.stage.textContent = `${STAGES[stage]}…`;
    announce(STAGES[stage]);
  }

  /** @param {Path} path */
  over(path) {
    this.path.textContent = pathName(path);
  }

  /** @param {{ what?: string, end?: string }} limit */
  limitedBy(limit) {
    this.limit.textContent = limited(limit) || " ";
  }

  end() {
    clearInterval(this.timer);
    this.wake();
    document.title = "p2pshare";
  }
}

/** Keeps the screen on; gives what lets it go. A browser that cannot does without. */
function keepAwake() {
  /** @type {WakeLockSentinel | undefined} */
  let lock;
  let isOver = false;
  const take = async () => {
    if (isOver || document.visibilityState !== "visible") return;
    lock = await navigator.wakeLock?.request("screen").catch(() => undefined);
  };
  take();
  document.addEventListener("visibilitychange", take);
  return () => {
    isOver = true;
    document.removeEventListener("visibilitychange", take);
    lock?.release();
  };
}
