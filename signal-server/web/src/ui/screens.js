/**
 * Screens that both directions have.
 *
 * @import { Failure } from "../net/failure.js"
 */

import { button, heading, make, show } from "./dom.js";
import { STAGES, explain } from "./words.js";

/** Something is on its way to happen. @param {string} name @param {() => void} onStop @param {string[]} [words] to compare */
export function stage(name, onStop, words) {
  show(
    name,
    STAGES[name],
    heading(words ? "Compare these words with the other side" : `${STAGES[name]}…`),
    words ? make("p", { class: "code", id: "words" }, words.join(" ")) : make("div", { class: "waiting", "aria-hidden": "true" }),
    words && make("p", {}, "The other side says whether they are the same there. If they differ, somebody is between you: stop."),
    make("div", { class: "actions" }, button("Stop", onStop, { id: "stop", class: "quiet" })),
  );
}

/** A sender's user says whether the other side shows the same words. @param {string[]} words @param {(isSame: boolean) => void} answer */
export function compare(words, answer) {
  const title = "Does the other side show the same words?";
  show(
    "comparing",
    `${title} ${words.join(" ")}`,
    heading(title),
    make("p", { class: "code", id: "words" }, words.join(" ")),
    make("p", {}, "Nothing is told before you say so. If they differ, somebody is between you."),
    make(
      "div",
      { class: "actions" },
      button("They are the same", () => answer(true), { id: "same", class: "primary" }),
      button("They differ", () => answer(false), { id: "differ", class: "secondary" }),
    ),
  );
}

/** @param {Failure} failure @param {() => void} goHome @param {boolean} [isKept] whether what arrived can be gone on with */
export function failed(failure, goHome, isKept = false) {
  const [what, advice] = explain(failure);
  show(
    "failed",
    `${what} ${advice}`,
    heading(what),
    make("p", { id: "advice" }, advice),
    isKept && make("p", { id: "kept" }, "What arrived is kept in this browser for a day: only the rest is sent then."),
    make("div", { class: "actions" }, button("Start again", goHome, { id: "again", class: "primary" })),
  );
  document.body.dataset.failure = failure.reason ?? failure.kind;
  console.info("p2pshare:", failure.kind, failure.reason ?? "", failure.detail ?? "");
}
