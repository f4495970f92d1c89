// The grid of images. Only the tiles in its window exist, and only their pictures are asked for, so that the number of
// cases costs next to nothing. One element has the focus, and names the active tile: tiles are used again for other
// cases while people scroll, and a focus on one would go astray.

import { MEMBER, UNKNOWN_PROBABILITY } from "./cases.js";
import { afterPause, everyFrame, fill, h, newId } from "./dom.js";
import { VERDICTS, markOf, verdictKey, verdictOf } from "./verdicts.js";

const MOST_PX = 8e6; // browsers cut taller elements off; beyond, the scroll bar is scaled
const KEPT = 3000; // pictures
const AT_ONCE = 200; // pictures asked for in one question
const SIDES = [96, 192, 384]; // of pictures, as in Python
const [SMALLEST, LARGEST, GAP, CAPTION] = [64, 384, 8, 38]; // px; the last two as in grid.css
const WAIT_MS = 2000;
const SHOW = {
  members: "members",
  errors: "errors only",
  counterexamples: "members and counterexamples",
  all: "all cases",
};

/** Return which rows are in the window, how high all is, and what is added to `row * rowPx` to place a row. */
export function tileWindow({ n, columns, rowPx, viewPx, scrollTop, mostPx = MOST_PX }) {
  const rows = Math.ceil(n / columns);
  const all = rows * rowPx;
  const height = Math.min(all, Math.max(mostPx, viewPx));
  const scale = height > viewPx ? (all - viewPx) / (height - viewPx) : 1;
  const top = Math.max(Math.min(scrollTop * scale, all - viewPx), 0);
  const first = Math.max(Math.floor(top / rowPx) - 1, 0);
  const last = Math.min(Math.floor((top + viewPx) / rowPx) + 1, rows - 1);
  return { rows, height, scale, top, first, last, shift: scrollTop - top };
}

/** Sort positions: by strength, then errors first, then the farthest from the label. */
export function tileOrder(positions, { strength, truth, probability, wrong }) {
  // One number each, so that the browser sorts numbers: 50,000 in some milliseconds.
  const keys = Float64Array.from(positions, (p) => {
    const known = truth[p] >= 0 && probability[p] !== UNKNOWN_PROBABILITY;
    const far = known ? Math.abs(254 * truth[p] - probability[p]) : 0;
    return (((255 - (strength?.[p] ?? 0)) * 2 + 1 - wrong[p]) * 256 + 255 - far) * 2 ** 32 + p;
  });
  return Uint32Array.from(keys.sort(), (key) => key % 2 ** 32);
}

/** Pictures by position: object URLs, or words where there is none. The longest unused are given up. */
class TilePictures {
  constructor(store, arrived, told) {
    Object.assign(this, { store, arrived, told, kept: new Map(), asking: false, end: new AbortController() });
  }

  get(position, side) {
    const key = `${side}:${position}`;
    const found = this.kept.get(key);
    if (found) (this.kept.delete(key), this.kept.set(key, found));
    return found;
  }

  /** Ask for pictures, unless a question is open. Then the next one is about what is to be seen when it is answered. */
  async ask(positions, side) {
    if (this.asking || !positions.length) return;
    this.asking = true;
    const keep = (position, found) => this.kept.set(`${side}:${position}`, found);
    const timer = setTimeout(this.told, WAIT_MS, "waiting for the kernel");
    try {
      const wanted = { positions: positions.slice(0, AT_ONCE), side_px: side };
      const { content, buffers } = await this.store.request("thumbs", wanted, { signal: this.end.signal });
      const [{ buffer, byteOffset }] = buffers;
      content.positions.forEach((position, i) => {
        const [from, to] = [content.offsets[i], content.offsets[i + 1]];
        const bytes = new Uint8Array(buffer, byteOffset + from, to - from);
        keep(position, { url: URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) });
      });
      for (const [position, words] of Object.entries(content.errors)) keep(position, { words });
    } catch (error) {
      if (this.end.signal.aborted) return;
      for (const position of positions) keep(position, { words: error.message });
    }
    clearTimeout(timer);
    this.told("");
    this.asking = false;
    for (const [key, { url }] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(key);
      if (url) URL.revokeObjectURL(url);
    }
    this.arrived();
  }

  close() {
    this.end.abort();
    for (const { url } of this.kept.values()) if (url) URL.revokeObjectURL(url);
  }
}

const share = (value, of) => (value / of).toFixed(2);

/** One scrolled grid: of a slice, or of a model. `grid` is what panes share. */
class TilePane {
  constructor(grid, number) {
    Object.assign(this, {
      grid,
      number,
      name: newId(),
      order: new Uint32Array(0),
      rows: new Map(),
      active: 0,
      anchor: 0,
    });
    this.title = h("div", { class: "mma-grid-title", dir: "auto" });
    this.space = h("div", { class: "mma-grid-space", role: "rowgroup" });
    this.empty = h("p", { class: "mma-message", hidden: true });
    const on = (work) => (event) => {
      const index = Number(event.target.closest(".mma-tile")?.dataset.index ?? -1);
      if (index >= 0) work(event, index);
    };
    this.scroller = h(
      "div",
      {
        class: "mma-grid-scroll",
        role: "grid",
        tabindex: "0",
        "aria-multiselectable": "true",
        onscroll: () => grid.scrolled(this),
        onfocus: () => this.activate(this.active, false),
        onkeydown: (event) => this.key(event),
        onclick: on((event, index) => event.detail < 2 && this.click(event, index)),
        ondblclick: on((_event, index) => this.open(index)),
      },
      this.space,
    );
    this.el = h("div", { class: "mma-grid-pane" }, this.title, this.scroller, this.empty);
  }

  /** Work out what is shown, and in which order. */
  async load() {
    const { store, cases, view } = this.grid;
    const slice = this.number && !view.models ? view.beside : store.get("selected_slice");
    const row = store.get("_rows").find(({ id }) => id === slice);
    const model = Math.min(view.models ? this.number : view.model, cases.models.length - 1);
    const show = slice || view.show === "errors" ? view.show : "all";
    const target = row?.target_index ?? 0;
    const strength = slice ? await cases.strength(slice) : null;
    const of = (k) => ({
      strength,
      truth: cases.truth(target),
      probability: cases.probability(target, k),
      wrong: cases.wrong(target, k),
    });
    const found = {
      about: of(model),
      slice,
      model,
      target,
      paired: show === "counterexamples",
      what: `${slice} ${show}`,
      words: SHOW[show],
      problem: "",
    };
    const [filter, given] = [store.get("filter"), positionsIn(store.get("_given"))];
    if (found.paired) {
      const pairs = await this.grid
        .pairs(slice, view.models ? 0 : model) // side by side, both models have the pairs of the first
        .catch((error) => ({ positions: new Uint32Array(0), problem: error.message }));
      const order = pairs.positions.filter((_, i, all) => !filter || filter[all[i - (i % 2)]]);
      return { ...found, ...pairs, order };
    }
    // Two models have one order, so that a case stands at the same place; errors are then those of either.
    const wrong = view.models ? [of(0).wrong, of(1).wrong] : [found.about.wrong];
    const all = given.length ? given : Uint32Array.from({ length: cases.n }, (_, p) => p);
    const order = all.filter(
      (p) =>
        (!filter || filter[p]) &&
        (show !== "errors" || wrong.some((of) => of[p])) &&
        (show === "all" || !slice || strength[p] >= MEMBER),
    );
    return { ...found, order: slice || !given.length ? tileOrder(order, view.models ? of(0) : found.about) : order };
  }

  take(found) {
    const before = this.order[this.active];
    const changed = found.what !== this.what;
    Object.assign(this, found);
    const kept = changed ? -1 : this.order.indexOf(before);
    this.active = this.anchor = Math.max(kept, 0);
    if (kept < 0) this.scroller.scrollTop = 0;
    const { models } = this.grid.cases;
    const given = this.grid.store.get("_given")?.byteLength;
    const name = this.slice ? this.grid.nameOf(this.slice) : given ? "Given cases" : "All cases";
    const who = models.length > 1 ? ` · ${models[this.model]}` : "";
    const n = this.paired ? `${this.order.length / 2} pairs` : this.order.length.toLocaleString("en");
    const words = this.slice || this.what.endsWith("errors") ? ` · ${this.words}` : "";
    fill(this.title, h("strong", {}, name), h("span", { class: "mma-quiet" }, `${who} · ${n}${words}`));
    this.scroller.setAttribute("aria-label", `Images: ${name}${who}`);
    this.empty.textContent = found.problem || "No case to show.";
    this.empty.hidden = this.order.length > 0;
    this.scroller.hidden = !this.order.length;
  }

  measure() {
    const { px } = this.grid;
    const across = Math.max(Math.floor((this.scroller.clientWidth - GAP) / (px + GAP)), 1);
    const columns = this.paired && across > 1 ? across - (across % 2) : across;
    const { clientHeight: viewPx, scrollTop } = this.scroller;
    return { n: this.order.length, columns, rowPx: px + CAPTION + GAP, viewPx, scrollTop };
  }

  /** Draw what is in the window; return the positions of which pictures lack. */
  draw() {
    const size = this.measure();
    if (!size.viewPx) return [];
    const { rows, height, first, last, shift } = tileWindow(size);
    this.space.style.height = `${height}px`;
    this.scroller.setAttribute("aria-rowcount", rows);
    this.scroller.setAttribute("aria-colcount", size.columns);
    const free = [];
    for (const [row, el] of this.rows) if (row < first || row > last) (this.rows.delete(row), free.push(el));
    const [shown, lack] = [[], []];
    for (let row = first; row <= last; row += 1) {
      const el = this.rows.get(row) ?? free.pop() ?? h("div", { class: "mma-grid-row", role: "row" });
      this.rows.set(row, el);
      shown.push(el);
      el.setAttribute("aria-rowindex", row + 1);
      el.style.top = `${row * size.rowPx + shift}px`;
      while (el.children.length > size.columns) el.lastChild.remove();
      for (let column = 0; column < size.columns; column += 1) {
        const tile = el.children[column] ?? el.appendChild(this.tile(column));
        const index = row * size.columns + column;
        tile.hidden = index >= this.order.length;
        if (!tile.hidden) this.show(tile, index, lack);
      }
    }
    // In order, for those who read the page from top to bottom.
    const { children } = this.space;
    if (shown.length !== children.length || shown.some((el, i) => el !== children[i])) fill(this.space, ...shown);
    const active = this.rows.has(Math.floor(this.active / size.columns));
    if (active) this.scroller.setAttribute("aria-activedescendant", `${this.name}-${this.active}`);
    else this.scroller.removeAttribute("aria-activedescendant");
    return lack;
  }

  tile(column) {
    const img = h("img", { alt: "", draggable: "false" });
    const tile = h(
      "div",
      { class: "mma-tile", role: "gridcell", "aria-colindex": column + 1 },
      h(
        "div",
        { class: "mma-tile-film", "aria-hidden": "true" },
        img,
        ...["none", "verdict", "chosen"].map((name) => h("span", { class: `mma-tile-${name}` })),
      ),
      h(
        "div",
        { class: "mma-tile-words", "aria-hidden": "true" },
        h("div"),
        h("div", { class: "mma-tile-strength" }, h("i"), h("span"), h("span")),
      ),
    );
    img.onload = () => (tile.dataset.picture === "loading" && (tile.dataset.picture = "drawn"), this.grid.check());
    img.onerror = () => ((tile.dataset.picture = "none"), this.grid.check());
    return tile;
  }

  show(tile, index, lack) {
    const { grid, order } = this;
    const position = order[index];
    const key = `${index} ${position} ${grid.version}`;
    if (tile.key !== key) {
      tile.key = key;
      tile.id = `${this.name}-${index}`;
      this.describe(tile, index, position);
    }
    tile.classList.toggle("mma-active", index === this.active);
    const found = grid.pictures.get(position, grid.side);
    if (!found) lack.push(position);
    const now = found ? (found.url ?? `: ${found.words}`) : "";
    if (tile.now === now) return;
    tile.now = now;
    tile.dataset.picture = found ? (found.url ? "loading" : "none") : "wait";
    const [img, none] = tile.firstChild.children;
    none.textContent = found?.words ?? "";
    none.title = found?.words ?? "";
    if (found?.url) img.src = found.url;
  }

  describe(tile, index, position) {
    const { store, cases, marked } = this.grid;
    const { truth, probability, wrong, strength } = this.about;
    const label = truth[position];
    const p = probability[position] === UNKNOWN_PROBABILITY ? "–" : share(probability[position], 254);
    const member = strength ? share(strength[position], 255) : "";
    const confirmation = cases.confirmation();
    const part = confirmation ? (confirmation[position] ? "confirmation" : "discovery") : "";
    const verdict = verdictOf(store, `sample:${position}`);
    const kind = this.paired ? (index % 2 ? "counterexample" : "member") : "";
    Object.assign(tile.dataset, { index, position, wrong: wrong[position], kind });
    tile.setAttribute("aria-selected", Boolean(marked[position]));
    const words = [
      kind,
      label < 0 ? "label not known" : `${cases.targets[this.target]}: ${label ? "yes" : "no"}`,
      p === "–" ? "" : `probability ${p}`,
      wrong[position] ? "wrong" : "",
      member && `membership ${member}`,
      part,
      verdict && `verdict: ${VERDICTS.find(({ code }) => code === verdict).words}`,
    ]
      .filter(Boolean)
      .join(", ");
    tile.setAttribute("aria-label", `Case ${index + 1}: ${words}`);
    tile.title = words;
    const [film, under] = tile.children;
    film.children[2].textContent = markOf(verdict);
    film.children[3].textContent = marked[position] ? "☑" : "";
    const disc = label < 0 ? "–" : label ? "●" : "○";
    under.firstChild.textContent = `${disc} p ${p}${wrong[position] ? " ▲" : ""}`;
    const [bar, number, letter] = under.lastChild.children;
    bar.style.width = strength ? `${strength[position] / 6}%` : "0";
    number.textContent = member;
    letter.textContent = part.slice(0, 1).toUpperCase();
  }

  /** Make a tile the active one, and bring it into the window. */
  activate(index, scroll = true) {
    const { store } = this.grid;
    if (!this.order.length) return;
    this.active = index;
    store.set("order", this.order);
    store.set("focus", this.order[index]);
    if (scroll) this.reveal();
    this.grid.ask();
  }

  reveal() {
    const size = this.measure();
    const { top, scale } = tileWindow(size);
    const at = Math.floor(this.active / size.columns) * size.rowPx;
    const wanted = Math.min(Math.max(top, at + size.rowPx + GAP - size.viewPx), at);
    if (wanted !== top) this.scroller.scrollTop = wanted / scale;
  }

  open(index) {
    this.activate(index);
    this.grid.store.set("open", this.order[index]);
  }

  select(from, to) {
    this.grid.store.select(new Set(this.order.subarray(Math.min(from, to), Math.max(from, to) + 1)));
  }

  toggle(index) {
    const chosen = new Set(this.grid.store.selected());
    if (!chosen.delete(this.order[index])) chosen.add(this.order[index]);
    this.grid.store.select(chosen);
  }

  click(event, index) {
    this.activate(index, false);
    if (event.shiftKey) return this.select(this.anchor, index);
    this.anchor = index;
    return event.ctrlKey || event.metaKey ? this.toggle(index) : this.select(index, index);
  }

  key(event) {
    const { key, shiftKey } = event;
    const [{ store }, last, a] = [this.grid, this.order.length - 1, this.active];
    if (last < 0 || event.altKey) return;
    const { columns, viewPx, rowPx } = this.measure();
    const page = Math.max(Math.floor(viewPx / rowPx), 1) * columns;
    const below = Math.floor(a / columns) < Math.floor(last / columns) ? a + columns : a;
    const above = a < columns ? a : a - columns;
    const moves = {
      ArrowRight: a + 1,
      ArrowLeft: a - 1,
      ArrowDown: below,
      ArrowUp: above,
      PageDown: a + page,
      PageUp: a - page,
      Home: 0,
      End: last,
    };
    const to = Math.max(Math.min(moves[key] ?? NaN, last), 0);
    const ctrl = event.ctrlKey || event.metaKey;
    if (to >= 0) {
      this.activate(to);
      if (shiftKey) this.select(this.anchor, to);
      else this.anchor = to;
    } else if (key === " ") {
      if (shiftKey) this.select(this.anchor, a);
      else this.toggle((this.anchor = a));
    } else if (ctrl && key.toLowerCase() === "a") this.select(0, last);
    else if (key === "Escape" && store.selected().length) store.select([], "Nothing selected");
    else if (key === "Enter") this.open(a);
    else {
      verdictKey(event, store, `sample:${this.order[a]}`, `case ${a + 1}`);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

function positionsIn(view) {
  return view?.byteLength
    ? new Uint32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
    : new Uint32Array(0);
}

/**
 * Show the images of the selected slice; return what ends it.
 * @param {HTMLElement} el
 * @param {any} store
 * @param {{chooser?: boolean}} [options] chooser: whether the slice can be chosen here
 */
export function mountGrid(el, store, { chooser = true } = {}) {
  const told = h("span", { class: "mma-quiet" });
  const bar = h("div", { class: "mma-bar" });
  const body = h("div", { class: "mma-grid-panes" });
  const legend = h(
    "p",
    { class: "mma-quiet mma-grid-legend" },
    "● label 1 ○ label 0 · p probability · ▲ wrong · bar: membership · D discovery, C confirmation · ",
    "Enter or double click: read · Space: select · A, R, Q: verdict",
  );
  const root = h("div", { class: "mma-grid", "data-ready": "0" }, bar, body, legend);
  el.append(root);
  let [turn, loaded, loading, stale] = [0, false, true, true];
  const redraw = everyFrame(draw);
  const ask = () => {
    stale = true;
    redraw();
  };
  const grid = {
    store,
    ask,
    check,
    cases: null,
    version: 0,
    marked: new Uint8Array(0),
    view: store.get("_grid"),
    px: 0,
    side: SIDES[0],
    pictures: new TilePictures(store, ask, (words) => (told.textContent = words)),
    nameOf: (id) => store.get("_edits").names?.[id] ?? store.get("_rows").find((row) => row.id === id)?.name ?? id,
    known: {},
    /** Members and their counterexamples, one after the other. */
    async pairs(slice, model) {
      const key = `${slice} ${model}`;
      grid.known[key] ??= store.request("counterexamples", { slice_id: slice, model }).then(({ content, buffers }) => ({
        words: `dashed: most like the member before it, outside the slice, and right · ${content.words}`,
        positions: positionsIn(buffers[0]),
      }));
      grid.known[key].catch(() => delete grid.known[key]);
      return grid.known[key];
    },
    scrolled(pane) {
      if (grid.view.models) for (const other of panes) other.scroller.scrollTop = pane.scroller.scrollTop;
      ask();
    },
  };
  const panes = [];

  function resized() {
    grid.side = SIDES.find((side) => side >= grid.px * devicePixelRatio) ?? SIDES.at(-1);
    root.style.setProperty("--mma-tile", `${grid.px}px`);
    ask();
  }

  function draw() {
    if (!loaded) return;
    stale = false;
    const lack = new Set(panes.flatMap((pane) => pane.draw()));
    grid.pictures.ask([...lack], grid.side);
    check();
  }

  function check() {
    const waits = '.mma-tile:not([hidden]):is([data-picture="wait"], [data-picture="loading"])';
    root.dataset.ready = loading || stale || root.querySelector(waits) ? "0" : "1";
  }

  const observer = new ResizeObserver(ask);

  async function load() {
    turn += 1;
    const mine = turn;
    const timer = setTimeout(() => (told.textContent = "waiting for the kernel"), WAIT_MS);
    loading = true;
    check();
    try {
      grid.cases ??= await store.cases();
      if (mine !== turn) return clearTimeout(timer);
      grid.view = store.get("_grid");
      const wanted = grid.view.beside || (grid.view.models && grid.cases.models.length > 1) ? 2 : 1;
      for (const { el, scroller } of panes.splice(wanted)) {
        observer.unobserve(scroller);
        el.remove();
      }
      while (panes.length < wanted) {
        const pane = new TilePane(grid, panes.length);
        panes.push(pane);
        body.append(pane.el);
        observer.observe(pane.scroller);
      }
      const found = await Promise.all(panes.map((pane) => pane.load()));
      if (mine !== turn) return clearTimeout(timer);
      panes.forEach((pane, i) => pane.take(found[i]));
      store.set("order", panes[0].order);
      told.textContent = "";
      loaded = true;
      controls();
    } catch (error) {
      if (mine === turn) told.textContent = error.message;
    }
    clearTimeout(timer);
    if (mine !== turn) return;
    loading = false;
    mark();
  }

  /** Note what is selected, and draw all tiles anew. */
  function mark() {
    if (!loaded) return check();
    grid.marked = new Uint8Array(grid.cases.n);
    for (const position of store.selected()) grid.marked[position] = 1;
    grid.version += 1;
    ask();
  }

  const set = (words, values) => store.change(words, { _grid: { ...store.get("_grid"), ...values } });

  function choice(name, value, options, chosen) {
    const list = h("select", {
      class: "mma-select",
      dir: "auto",
      "aria-label": name,
      onchange: () => chosen(list.value),
    });
    for (const [code, words] of options) list.append(h("option", { value: code }, words));
    list.value = value;
    return h("label", {}, `${name} `, list);
  }

  const settle = afterPause(() => store.set("_grid", { ...store.get("_grid"), tile_px: grid.px }));
  const sizer = h("input", {
    type: "range",
    min: SMALLEST,
    max: LARGEST,
    step: 16,
    "aria-label": "Size of the tiles",
    class: "mma-grid-size",
  });
  sizer.addEventListener("input", () => {
    grid.px = Number(sizer.value);
    resized();
    settle();
  });
  const parts = h("span", { class: "mma-bar" });
  bar.append(parts, h("label", {}, "Size ", sizer), told);

  let drawn = "";
  /** Make the choices anew where they have changed; the one that has the focus keeps it. */
  function controls() {
    const { cases, view } = grid;
    const slices = store.get("_rows").map(({ id }) => [id, `${id}: ${grid.nameOf(id)}`]);
    const two = cases.models.length > 1;
    const state = JSON.stringify([slices, view, store.get("selected_slice")]);
    if (drawn === state) return;
    drawn = state;
    const held = [...parts.querySelectorAll("select")].findIndex((list) => list.matches(":focus"));
    fill(
      parts,
      chooser && slices.length
        ? choice("Slice", store.get("selected_slice"), [["", "none"], ...slices], (id) =>
            store.change(id ? `Slice ${id}` : "No slice", { selected_slice: id }),
          )
        : null,
      choice("Show", view.show, Object.entries(SHOW).filter(([show]) => !store.lacks(show)), (show) => set(`Show ${SHOW[show]}`, { show })),
      slices.length || two
        ? choice(
            "Beside",
            view.models ? "*" : view.beside,
            [["", "nothing"], ...(two ? [["*", cases.models.join(" and ")]] : []), ...slices],
            (code) => set("Beside", { models: code === "*", beside: code === "*" ? "" : code }),
          )
        : null,
      two && !view.models
        ? choice(
            "Model",
            String(view.model),
            cases.models.map((name, i) => [String(i), name]),
            (i) => set(cases.models[i], { model: Number(i) }),
          )
        : null,
    );
    parts.querySelectorAll("select")[held]?.focus();
  }

  /** Go to the case that another part has gone to, unless somebody is in the second pane. */
  function follow(name) {
    const position = store.get(name);
    const pane = panes[0];
    if (!loaded || pane.order[pane.active] === position || panes[1]?.scroller.matches(":focus")) return;
    const index = pane.order.indexOf(position);
    if (index < 0) return;
    pane.active = index;
    pane.reveal();
    ask();
  }

  function sized() {
    const { tile_px: px } = store.get("_grid");
    if (px === grid.px) return;
    grid.px = px;
    sizer.value = px;
    resized();
  }
  const seen = (view) => JSON.stringify({ ...view, tile_px: 0 });
  const stops = [
    store.on("selected_slice filter _given _rows _edits", load),
    store.on("_grid", () => {
      sized();
      if (seen(store.get("_grid")) !== seen(grid.view)) load();
    }),
    store.on("_selected _verdicts", mark),
    store.on("focus", () => follow("focus")),
    store.on("open", () => follow("open")),
  ];
  sized();
  load();
  return () => {
    turn += 1;
    stops.forEach((stop) => stop());
    observer.disconnect();
    redraw.cancel();
    settle.cancel();
    grid.pictures.close();
    root.remove();
  };
}
