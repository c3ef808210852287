/**
 * Elements. Text only ever becomes text: what a peer says cannot become markup.
 *
 * @typedef {Node | string | undefined | false} Child
 */

/**
 * Makes an element; `on…` members are listeners, the others attributes.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, unknown>} [attributes] @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Shows another screen, and says to assistive technology what it is.
 *
 * @param {string} state a word for tests and styles
 * @param {string} said
 * @param {Child[]} children
 */
export function show(state, said, ...children) {
  const main = byId("main");
  const before = document.body.dataset.state;
  document.body.dataset.state = state;
  main.replaceChildren(...children.filter((child) => child !== undefined && child !== false));
  announce(said);
  // Whoever uses the keyboard goes on at the top of what is new.
  if (before !== undefined && before !== state) main.querySelector("h1")?.focus();
}

/** Says something to assistive technology. @param {string} said */
export function announce(said) {
  byId("live").textContent = said;
}

/** The heading of a screen; it takes the focus. @param {string} text */
export const heading = (text) => make("h1", { tabindex: -1 }, text);

/** @param {string} label @param {() => void} act @param {Record<string, unknown>} [attributes] */
export const button = (label, act, attributes = {}) =>
  make("button", { type: "button", ...attributes, onclick: act }, label);
