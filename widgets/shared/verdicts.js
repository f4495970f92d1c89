// What the user says of a slice or of an image: accept, reject, or that a radiologist is needed; with a note.

import { button, h } from "./dom.js";

/** By key: the code that Python knows, words, and a mark that can be told without colour. */
export const VERDICTS = [
  { key: "a", code: "accept", words: "accept", mark: "✓" },
  { key: "r", code: "reject", words: "reject", mark: "✕" },
  { key: "q", code: "radiologist", words: "needs a radiologist", mark: "?" },
];

const partOf = (of) => `${of.slice(0, of.indexOf(":"))}s`;
const keyOf = (of) => of.slice(of.indexOf(":") + 1);

/** Return the code of the verdict on "slice:<id>" or "sample:<position>", or "". */
export function verdictOf(store, of) {
  return store.get("_verdicts")[partOf(of)]?.[keyOf(of)] ?? "";
}

/** Return the mark of a code, or "". */
export function markOf(code) {
  return VERDICTS.find((verdict) => verdict.code === code)?.mark ?? "";
}

/** Give a verdict; the same one again takes it back. `words`: what it is on. */
export function giveVerdict(store, of, code, words) {
  const before = store.get("_verdicts");
  const part = { ...before[partOf(of)] };
  const taken = !code || part[keyOf(of)] === code;
  if (taken) delete part[keyOf(of)];
  else part[keyOf(of)] = code;
  const said = VERDICTS.find((verdict) => verdict.code === code)?.words;
  store.change(taken ? `${words}: verdict taken back` : `${words}: ${said}`, { _verdicts: { ...before, [partOf(of)]: part } });
}

/** Give the verdict that a key stands for; return whether it stands for one. */
export function verdictKey(event, store, of, words) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const verdict = VERDICTS.find(({ key }) => key === event.key.toLowerCase());
  if (!verdict) return false;
  event.preventDefault();
  giveVerdict(store, of, verdict.code, words);
  return true;
}

/**
 * Show the buttons and the note; return what ends them.
 * @param {HTMLElement} el
 * @param {any} store
 * @param {string} of "slice:<id>" or "sample:<position>"
 * @param {string} words what it is on, such as "slice s01"
 */
export function mountVerdict(el, store, of, words) {
  const buttons = VERDICTS.map(({ key, code, words: name, mark }) =>
    button(`${mark} ${name}`, () => giveVerdict(store, of, code, words), { "data-code": code, title: `${name} (${key.toUpperCase()})` }),
  );
  const note = h("input", { class: "mma-input mma-note", type: "text", placeholder: "note", "aria-label": `Note on ${words}`, dir: "auto" });
  note.addEventListener("change", () => {
    if (note.value === (store.get("notes")[of] ?? "")) return;
    const notes = { ...store.get("notes"), [of]: note.value };
    if (!note.value) delete notes[of];
    store.change(`${words}: note`, { notes });
  });
  el.append(h("div", { class: "mma-bar mma-verdict", role: "group", "aria-label": `Verdict on ${words}` }, ...buttons, note));
  const show = () => {
    const code = verdictOf(store, of);
    for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.code === code));
    if (document.activeElement !== note) note.value = store.get("notes")[of] ?? "";
  };
  show();
  return store.on("_verdicts notes", show);
}
