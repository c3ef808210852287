/**
 * The screen of a transfer that was interrupted, as by a reload of the page.
 *
 * @import { Kept } from "../store/kept.js"
 */

import { announce, button, heading, make, show } from "./dom.js";
import { size } from "./format.js";
import { cleared, isAllowed } from "./places.js";

/** @param {Kept} kept @param {() => void} goOn @param {() => void} later */
export function interrupted(kept, goOn, later) {
  const { title, bytes, place, reunion } = kept.row;
  const said = `You have ${size(kept.bytes)} of ${size(bytes)} from before`;
  const begin = async () => {
    if (await isAllowed(place)) goOn();
    else announce("The browser may not write there. Throw it away, and ask for a new code.");
  };
  const drop = async () => {
    await cleared(place);
    await kept.forget();
    later();
  };
  show(
    "kept",
    said,
    heading(said),
    make("p", { class: "name", id: "title" }, title),
    make(
      "p",
      {},
      reunion
        ? "The transfer was interrupted. If the sender is still there, only the rest is sent."
        : "The sender is not there any more. Ask for a new code for the same files: only the rest is sent.",
    ),
    make(
      "div",
      { class: "actions" },
      reunion && button("Go on", begin, { id: "go-on", class: "primary" }),
      button("Throw away", drop, { id: "throw-away", class: "secondary" }),
      button(reunion ? "Not now" : "Go to the start", later, { id: "later", class: "quiet" }),
    ),
  );
}
