// What the parts of a widget share. Traits are had by Python too and outlive it in the page; `local` is known to this
// page alone; bytes are asked for by message when they are needed. A part never talks to the model itself, so that the
// same parts work on a saved file, behind another host.

import { Cases } from "./cases.js";

const PING_MS = 300;

/**
 * @typedef {object} Host what is behind a store
 * @property {(name: string) => any} get
 * @property {(name: string, value: any) => void} set keeps and saves the value
 * @property {(name: string, callback: () => void) => (() => void)} on
 * @property {(content: any) => boolean} send returns false where there is no kernel any more
 * @property {(callback: (content: any, buffers: DataView[]) => void) => (() => void)} onMessage
 * @property {(store: Store) => Promise<Cases>} [cases] where they are at hand
 * @property {string[]} [lacks] which questions nobody answers here, such as "test"
 */

/** Return the host that an anywidget model is. */
export function hostOf(model) {
  return {
    get: (name) => model.get(name),
    set(name, value) {
      model.set(name, value);
      model.save_changes();
    },
    on(name, callback) {
      model.on(`change:${name}`, callback);
      return () => model.off(`change:${name}`, callback);
    },
    send(content) {
      try {
        model.send(content);
      } catch {
        return false; // its kernel is gone
      }
      return true;
    },
    onMessage(callback) {
      model.on("msg:custom", callback);
      return () => model.off("msg:custom", callback);
    },
  };
}

/**
 * Return `current` with what leads from `from` to `to` done to it: what another part, or another page, changed besides
 * stays. Objects go by their keys, lists by what is in them.
 */
export function patched(current, from, to) {
  if ([current, from, to].every(Array.isArray)) {
    const kept = current.filter((one) => !from.includes(one) || to.includes(one));
    return [...kept, ...to.filter((one) => !from.includes(one) && !kept.includes(one))];
  }
  const isPlain = (value) => value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype;
  if (![current, from, to].every(isPlain)) return to;
  const result = { ...current };
  for (const key of new Set([...Object.keys(from), ...Object.keys(to)])) {
    if (!(key in to)) delete result[key];
    else if (from[key] !== to[key]) result[key] = patched(current[key], from[key], to[key]);
  }
  return result;
}

export class Store {
  /**
   * @param {Host} host
   * @param {Record<string, any>} local names, with first values, that only this page knows
   */
  constructor(host, local = {}) {
    this.host = host;
    // `focus`: position of the case that the keyboard or the mouse was last on, or -1; `open`: that of the case that is
    // read in full, or -1. `filter`: Uint8Array of 0 and 1 for each case, or null for all. `order`: positions in the
    // order in which the grid shows them. `said`: the last words for the live region. `pushed`: the last thing that
    // Python sent unasked. `undone`: how many changes can be undone. `notes`: by "slice:<id>" and "sample:<position>";
    // private, so never in a trait.
    const none = new Uint32Array(0);
    this.local = { focus: -1, open: -1, filter: null, order: none, said: "", pushed: null, undone: 0, notes: {}, ...local };
    this.listeners = new Map();
    this.pending = new Map();
    this.past = [];
    // Another page on the same kernel hears the answers too, and must not take them for its own.
    this.lastId = Math.floor(Math.random() * 2 ** 40);
    this.pinged = false;
    this.stop = host.onMessage((content, buffers) => this.receive(content, buffers));
  }

  /** Return a trait or a local value. */
  get(name) {
    return name in this.local ? this.local[name] : this.host.get(name);
  }

  /** Keep a value. A change that people should be able to undo goes through `change`. */
  set(name, value) {
    if (!(name in this.local)) return this.host.set(name, value);
    if (this.local[name] === value) return undefined;
    const before = this.local[name];
    this.local[name] = value;
    if (name === "notes" && !this.receiving) {
      for (const of of new Set([...Object.keys(before), ...Object.keys(value)])) {
        if (before[of] !== value[of]) this.host.send({ kind: "note", of, text: value[of] ?? "" });
      }
    }
    for (const callback of [...(this.listeners.get(name) ?? [])]) callback();
    return undefined;
  }

  /** Call back when one of the names, separated by spaces, changes; return what ends that. */
  on(names, callback) {
    const ends = names.split(" ").map((name) => {
      if (!(name in this.local)) return this.host.on(name, callback);
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name).add(callback);
      return () => this.listeners.get(name).delete(callback);
    });
    return () => ends.forEach((end) => end());
  }

  /** Return whether nobody answers a kind of question here; what needs it is not shown. */
  lacks(kind) {
    return Boolean(this.host.lacks?.includes(kind));
  }

  /** Set several values as one step that `undo` takes back; `words` say what was done. */
  change(words, values) {
    const before = Object.fromEntries(Object.keys(values).map((name) => [name, this.get(name)]));
    for (const [name, value] of Object.entries(values)) this.set(name, value);
    this.remember(words, before);
  }

  /** Let `undo` lead from the values `after` back to `before`, where the change that `words` tell of has been made. */
  remember(words, before, after = Object.fromEntries(Object.keys(before).map((name) => [name, this.get(name)]))) {
    this.past.push({ words, before, after });
    if (this.past.length > 100) this.past.shift();
    this.set("undone", this.past.length);
    this.say(words);
  }

  /** Take the last change back. */
  undo() {
    const last = this.past.pop();
    if (!last) return this.say("Nothing to undo");
    for (const [name, value] of Object.entries(last.before)) this.set(name, patched(this.get(name), last.after[name], value));
    this.set("undone", this.past.length);
    return this.say(`Undone: ${last.words}`);
  }

  /** Say something to those who listen to the page. */
  say(words) {
    this.set("said", "");
    this.set("said", words);
  }

  /**
   * Ask Python; resolves to {content, buffers}. It waits as long as the kernel is busy. Aborting tells Python, too.
   * @param {string} kind
   * @param {Record<string, any>} [payload]
   * @param {{signal?: AbortSignal, onProgress?: (progress: {done: number, total: number, text: string}) => void}} [how]
   * @returns {Promise<{content: any, buffers: DataView[]}>}
   */
  request(kind, payload = {}, { signal, onProgress } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      this.lastId += 1;
      const id = this.lastId;
      const abort = () => {
        this.pending.delete(id);
        this.host.send({ id, kind: "cancel" });
        reject(signal.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const end = () => signal?.removeEventListener("abort", abort);
      this.pending.set(id, { resolve, reject, end, onProgress });
      if (this.host.send({ ...payload, id, kind }) !== false) return undefined;
      this.pending.delete(id);
      end();
      return reject(new Error("There is no kernel: run the cell again."));
    });
  }

  receive(content, buffers = []) {
    if (content.pushed) {
      if (content.pushed === "notes") this.receiveNotes(content.notes);
      this.set("pushed", content);
      return;
    }
    const asked = this.pending.get(content.id);
    if (!asked) return;
    if (content.progress) {
      asked.onProgress?.(content.progress);
      return;
    }
    this.pending.delete(content.id);
    asked.end();
    if (content.error) asked.reject(new Error(content.error));
    else asked.resolve({ content, buffers });
    if (!this.pinged) {
      // JupyterLab answers while a cell runs only after it has been told of that way by an answer in an idle time.
      this.pinged = true;
      setTimeout(() => this.host.send({ kind: "ping" }), PING_MS);
    }
  }

  /** Ask for the notes; without a kernel there are none. */
  readNotes() {
    this.request("notes").then(({ content }) => this.receiveNotes(content.notes), () => undefined);
  }

  receiveNotes(notes) {
    this.receiving = true;
    this.set("notes", notes);
    this.receiving = false;
  }

  /** Return what is known of every case; asked for once. */
  cases() {
    if (!this.asked) {
      this.asked = this.host.cases?.(this) ?? this.request("start").then(({ content, buffers }) => Cases.read(this, content, buffers[0]));
      this.asked.catch(() => (this.asked = null));
    }
    return this.asked;
  }

  /** Return the positions that are selected. */
  selected() {
    const view = this.get("_selected");
    if (!view || !view.byteLength) return new Uint32Array(0);
    const bytes = view instanceof ArrayBuffer ? view : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    return new Uint32Array(bytes);
  }

  /** Select positions. */
  select(positions, words = "") {
    const bytes = Uint32Array.from(positions);
    this.change(words || `${bytes.length} selected`, { _selected: new DataView(bytes.buffer) });
  }

  dispose() {
    this.stop();
    for (const asked of this.pending.values()) asked.reject(new DOMException("closed", "AbortError"));
    this.pending.clear();
    this.listeners.clear();
  }
}
