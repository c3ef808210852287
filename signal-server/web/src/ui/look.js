/**
 * Looking at a file while it arrives, once somebody wants to.
 *
 * @import { PreviewStore } from "../store/preview.js"
 */

import { MOST_TEXT, kindOf } from "../store/preview.js";
import { button, make } from "./dom.js";

const LABELS = { video: "Watch while it arrives", audio: "Listen while it arrives", image: "Show it", text: "Read the start" };

/** @param {PreviewStore} store */
export function look(store) {
  const place = make("div", { id: "preview", class: "preview" });
  const kind = kindOf(store.type);
  if (kind === "pdf") {
    store.url().then((href) => place.append(inTab(href)));
    return place;
  }
  const begin = async () => {
    place.replaceChildren(kind === "text" ? await text(store) : await media(kind, store));
  };
  place.append(button(LABELS[kind], begin, { id: "look", class: "secondary" }));
  return place;
}

/** Browsers show a PDF outside of any page. @param {string} href */
const inTab = (href) =>
  make("a", { id: "look", class: "secondary", href, target: "_blank", rel: "noopener" }, "Open it in a new tab");

/** @param {PreviewStore} store */
async function text(store) {
  const bytes = await store.start(MOST_TEXT);
  return make("pre", { tabindex: 0, "aria-label": "The start of the text" }, new TextDecoder().decode(bytes));
}

/** @param {"video" | "audio" | "image"} kind @param {PreviewStore} store */
async function media(kind, store) {
  const src = await store.url();
  if (kind === "image") return make("img", { src, alt: "What is arriving" });
  return make(kind, { src, controls: true, autoplay: true, playsinline: true, preload: "auto" });
}
