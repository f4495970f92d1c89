// What anywidget's front end is to a widget, without Jupyter: a model whose other half is in the test's own process.
// As in ipywidgets, one update of traits is on its way at a time, later ones wait and are joined, and messages of the
// widget's own overtake them.
const toBase64 = (view) => { let s = ""; for (const b of new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength)) s += String.fromCharCode(b); return btoa(s); };
const fromBase64 = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

export class Model {
  constructor(state, transport) { this.state = state; this.handlers = new Map(); this.dirty = {}; this.waiting = null; this.onItsWay = false; this.transport = transport; this.sent = []; this.received = 0; }
  get(name) { if (!(name in this.state)) throw new Error(`no trait '${name}'`); return this.state[name]; }
  set(name, value) { if (!(name in this.state)) throw new Error(`no trait '${name}'`); if (this.state[name] === value) return; this.state[name] = value; this.dirty[name] = value; this.emit(`change:${name}`); }
  save_changes() {
    this.waiting = { ...this.waiting, ...this.dirty }; this.dirty = {};
    if (!this.onItsWay) this.update();
  }
  update() {
    const state = this.waiting; this.waiting = null;
    if (!Object.keys(state ?? {}).length) return;
    this.onItsWay = true;
    const [plain, paths, buffers] = [{}, [], []];
    for (const [name, value] of Object.entries(state)) {
      if (isBinary(value)) { paths.push([name]); buffers.push(toBase64(value)); } else plain[name] = value;
    }
    this.transport({ data: { method: "update", state: plain, buffer_paths: paths }, buffers });
  }
  send(content) { this.sent.push(content); this.transport({ data: { method: "custom", content }, buffers: [] }); }
  on(name, callback) { if (!this.handlers.has(name)) this.handlers.set(name, new Set()); this.handlers.get(name).add(callback); }
  off(name, callback) { callback ? this.handlers.get(name)?.delete(callback) : this.handlers.delete(name); }
  emit(name, ...given) { for (const callback of [...(this.handlers.get(name) ?? [])]) callback(...given); }
  listeners() { return [...this.handlers.values()].reduce((n, set) => n + set.size, 0); }
  deliver(messages) {
    for (const { data, buffers } of messages) {
      const views = buffers.map(fromBase64);
      this.received += JSON.stringify(data).length + views.reduce((n, view) => n + view.byteLength, 0);
      if (data.method === "update") {
        const state = place(data.state, data.buffer_paths ?? [], views);
        for (const [name, value] of Object.entries(state)) { this.state[name] = value; this.emit(`change:${name}`); }
      } else if (data.method === "idle") {
        this.onItsWay = false; this.update();
      } else if (data.method === "custom") this.emit("msg:custom", data.content, views);
    }
  }
}

export function place(state, paths, views) {
  paths.forEach((path, i) => { let at = state; for (const key of path.slice(0, -1)) at = at[key]; at[path.at(-1)] = views[i]; });
  return state;
}

/** Make the model, and return it with a function that opens one more view of it. */
export async function open(opened, transport) {
  const state = place(opened.data.state, opened.data.buffer_paths ?? [], opened.buffers.map(fromBase64));
  const model = new Model(state, transport);
  model.received = JSON.stringify(opened.data).length + opened.buffers.reduce((n, text) => n + (text.length * 3) / 4, 0);
  const style = document.createElement("style");
  style.textContent = state._css ?? "";
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" })));
  const definition = typeof module.default === "function" ? await module.default() : module.default;
  const end = await definition.initialize?.({ model });
  return {
    model,
    end,
    async view(el) { return definition.render({ model, el }); },
  };
}
