// Small helpers to make elements. Text goes in as text: nothing here takes HTML.

/**
 * Return a new element. Children are elements or text; `onclick` and the like are listeners; `class`, `data-*`, `aria-*`
 * and the rest are attributes, of which null, undefined and false are left out.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else el.setAttribute(name, value === true ? "" : String(value));
  }
  el.append(...children.filter((child) => child !== null && child !== undefined).map((c) => (c instanceof Node ? c : String(c))));
  return el;
}

/** Replace all children of an element. */
export function fill(el, ...children) {
  el.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return el;
}

/** Return a drawing element, such as svg("path", {d: "M0 0"}). */
export function svg(tag, attributes = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, String(value));
  el.append(...children);
  return el;
}

/** Return a button with a name that can be read aloud. */
export function button(words, onclick, attributes = {}) {
  return h("button", { type: "button", class: "mma-button", onclick, ...attributes }, words);
}

/** Return the function, called at most once a frame. */
export function everyFrame(work) {
  let asked = 0;
  const ask = () => {
    if (!asked) asked = requestAnimationFrame(() => ((asked = 0), work()));
  };
  ask.cancel = () => cancelAnimationFrame(asked);
  return ask;
}

/** Return the function, called when it has not been asked for `ms`. */
export function afterPause(work, ms = 150) {
  let timer = 0;
  const ask = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(work, ms, ...given);
  };
  ask.cancel = () => clearTimeout(timer);
  return ask;
}

let lastId = 0;
/** Return an id that no other element of this page has. */
export function newId() {
  lastId += 1;
  return `mma-${lastId}-${Math.random().toString(36).slice(2, 8)}`;
}
