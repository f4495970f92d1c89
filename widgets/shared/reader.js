// One case read in full: its film, its report with the terms of the slice marked, and what is known of it.

import { MEMBER, UNKNOWN_PROBABILITY, unpack } from "./cases.js";
import { button, everyFrame, fill, h, newId } from "./dom.js";
import { mountVerdict, verdictKey } from "./verdicts.js";

const PATIENCE_MS = 2000;
const IN_WORDS = { affirmed: "affirmed", negated: "denied", uncertain: "in doubt" };
const [PAN_PX, ZOOM, STEP, DRAG_PX] = [48, 1.25, 0.05, 400];
const LONG_NAME = 80;
const STRIP = 256; // rows that are painted at once: a whole film as colours would take four times its memory

const message = (words, kind = "info") => h("p", { class: "mma-message", "data-kind": kind }, words);
const percent = (share) => `${Math.round(100 * share)} %`;

/** Return `show`, called when an answer does not come soon; call what is returned when it has come. */
function whenLate(show) {
  const timer = setTimeout(() => show("Waiting for the kernel…"), PATIENCE_MS);
  return () => clearTimeout(timer);
}

/** Return the nodes of a report: its headers, and terms of the slice with their status in words. */
export function reportNodes(text, spans) {
  const nodes = [];
  let at = 0;
  for (const [start, end, status, term] of spans) {
    const words = text.slice(start, end);
    nodes.push(text.slice(at, start));
    if (status === "header") nodes.push(h("strong", {}, words));
    else {
      const told = `term of the slice, ${IN_WORDS[status]}`;
      nodes.push(h("mark", { class: "mma-said", "data-status": status, title: `${term}: ${told}` }, words, h("span", { class: "mma-unseen" }, ` (${told})`)));
    }
    at = end;
  }
  return [...nodes, text.slice(at)];
}

/** Return a table of what is known of a case without its words. */
async function factsOf(store, cases, position) {
  const slice = store.get("selected_slice");
  const row = store.get("_rows").find(({ id }) => id === slice);
  const first = row?.target_index ?? 0;
  const order = [...cases.targets.keys()].sort((a, b) => (b === first) - (a === first));
  const lines = order.map((t) => {
    const truth = cases.truth(t)[position];
    const told = cases.models.map((_, m) => {
      const p = cases.probability(t, m)[position];
      if (p === UNKNOWN_PROBABILITY) return h("td", {}, "–");
      const wrong = cases.wrong(t, m)[position];
      const right = truth >= 0 ? "✓ right" : "";
      return h("td", { "data-wrong": wrong }, `${(p / 254).toFixed(2)} ${wrong ? "▲ wrong" : right}`);
    });
    return h("tr", {}, h("th", { scope: "row", dir: "auto" }, cases.targets[t]), h("td", {}, truth < 0 ? "not known" : truth), ...told);
  });
  const heads = ["", "label", ...cases.models].map((name) => (name ? h("th", { scope: "col", dir: "auto" }, name) : h("td")));
  const strength = slice ? (await cases.strength(slice))[position] : null;
  const member = strength >= MEMBER ? "a member" : "not a member";
  const name = String(row?.name ?? slice);
  const short = name.length > LONG_NAME ? `${name.slice(0, LONG_NAME)}…` : name;
  return [
    h("table", { class: "mma-facts" }, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...lines)),
    strength === null ? null : h("p", { class: "mma-strength" }, `Strength in “${short}”: ${(strength / 255).toFixed(2)}, ${member}`),
  ];
}

/** Return what the report and the metadata of an answer look like. */
function wordsOf({ report, why, cut, n_chars: length, spans, terms, metadata }, slice) {
  const count = (status) => spans.filter((span) => span[2] === status).length;
  const marked = `Terms of the slice: ${count("affirmed")} affirmed, ${count("negated")} denied (struck), ${count("uncertain")} in doubt (dotted).`;
  const rows = metadata.map(([name, value]) => h("tr", {}, h("th", { scope: "row", dir: "auto" }, name), h("td", { dir: "auto" }, value)));
  return [
    h("h4", {}, "Report"),
    report === null ? message(why ?? "There is no report at hand: give the widget data with reports.") : null,
    report !== null && slice ? h("p", { class: "mma-quiet" }, terms ? marked : "The slice has no terms that reports could hold.") : null,
    report === null ? null : h("div", { class: "mma-report", dir: "auto" }, ...reportNodes(report, spans)),
    cut ? message(`The report is cut: ${report.length.toLocaleString("en")} of ${length.toLocaleString("en")} characters are shown.`) : null,
    rows.length ? h("h4", {}, "Metadata") : null,
    rows.length ? h("table", { class: "mma-facts" }, h("tbody", {}, ...rows)) : null,
  ];
}

/**
 * Show what is known of a case; return what ends it.
 * @param {HTMLElement} el
 * @param {any} store
 * @param {{follow?: string, onReady?: () => void}} [how] `follow`: "focus" or "open", the local value whose case is shown
 */
export function mountCase(el, store, { follow = "focus", onReady } = {}) {
  const [head, facts, verdict, words] = [h("h3", { dir: "auto" }), h("div"), h("div"), h("div")];
  const root = h("section", { class: "mma-case", "aria-label": "Report and metadata", tabindex: 0 }, head, facts, verdict, words);
  el.append(root);
  let [asking, endVerdict, shown] = [null, null, null];
  const ready = (is) => {
    root.dataset.ready = is ? "1" : "0";
    if (is) onReady?.();
  };
  const show = async () => {
    const position = store.get(follow);
    asking?.abort();
    const { signal } = (asking = new AbortController());
    ready(false);
    if (position !== shown) {
      shown = position;
      endVerdict?.();
      fill(verdict);
      fill(facts);
      fill(words);
      endVerdict = position < 0 ? null : mountVerdict(verdict, store, `sample:${position}`, "this image");
      head.textContent = position < 0 ? "No case is chosen" : "…";
    }
    if (position < 0) return ready(true);
    const slice = store.get("selected_slice");
    const done = whenLate((late) => fill(words, message(late)));
    try {
      const asked = store.request("case", { position, slice_id: slice }, { signal });
      asked.catch(() => undefined); // it may be given up while the cases are waited for
      const cases = await store.cases();
      const known = await factsOf(store, cases, position);
      if (signal.aborted) return undefined;
      fill(facts, ...known);
      const { content } = await asked;
      head.textContent = [content.sample, content.part].filter(Boolean).join(" · ");
      fill(words, ...wordsOf(content, slice));
    } catch (error) {
      if (signal.aborted) return undefined;
      fill(words, message(error.message, "error"));
    } finally {
      done();
    }
    return ready(true);
  };
  const stop = store.on(`${follow} selected_slice`, () => void show());
  void show();
  return () => {
    stop();
    asking?.abort();
    endVerdict?.();
    root.remove();
  };
}

/** Return the grey of each of n values under a window and a level, both as shares of their range. */
export function greyTable(n, { window, level, inverted }) {
  return Uint8ClampedArray.from({ length: n }, (_, value) => {
    const grey = 255 * ((value / (n - 1) - level) / window + 0.5);
    return inverted ? 255 - Math.min(Math.max(grey, 0), 255) : grey;
  });
}

const newLook = () => ({ window: 1, level: 0.5, inverted: false });

/** Show a film that can be zoomed, moved and windowed. `told(words)` is called with what is to be seen of it. */
function makeFilm(told) {
  const keys = "Film. Plus and minus zoom, 0 fits, 1 shows it pixel by pixel, arrows move, Shift with arrows sets window and level, I inverts, O resets";
  const canvas = h("canvas", { class: "mma-film", tabindex: 0, role: "application", "aria-label": keys });
  const painted = document.createElement("canvas");
  let [film, look, view, fitted, grip] = [null, newLook(), { scale: 1, x: 0, y: 0 }, true, null];
  const ratio = () => globalThis.devicePixelRatio || 1;
  const draw = everyFrame(() => {
    const [width, height] = [canvas.clientWidth * ratio(), canvas.clientHeight * ratio()].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!film || !width) return;
    if (fitted) {
      view.scale = Math.min(width / film.file_width, height / film.file_height);
      view.x = (width - film.file_width * view.scale) / 2;
      view.y = (height - film.file_height * view.scale) / 2;
    }
    // Far enough in, a pixel of the film is shown as it is.
    context.imageSmoothingEnabled = (view.scale * film.file_width) / film.width < 8;
    context.imageSmoothingQuality = "high";
    context.drawImage(painted, view.x, view.y, film.file_width * view.scale, film.file_height * view.scale);
    const size = film.width < film.file_width ? `${film.width} of ${film.file_width} px wide` : `${film.file_width} × ${film.file_height} px`;
    told(`zoom ${percent(view.scale)}, window ${percent(look.window)}, level ${percent(look.level)}${look.inverted ? ", inverted" : ""}; ${film.small ? "small picture, " : ""}${size}, ${film.bit_depth} bits`);
  });
  const paint = everyFrame(() => {
    if (!film) return;
    const { width, height, values } = film;
    const grey = Uint32Array.from(greyTable(values.BYTES_PER_ELEMENT === 2 ? 65536 : 256, look), (v) => 0xff000000 | (v << 16) | (v << 8) | v);
    if (painted.width !== width || painted.height !== height) Object.assign(painted, { width, height });
    const context = painted.getContext("2d");
    for (let top = 0; top < height; top += STRIP) {
      const strip = context.createImageData(width, Math.min(STRIP, height - top));
      const colours = new Uint32Array(strip.data.buffer);
      const first = top * width;
      for (let k = 0; k < colours.length; k += 1) colours[k] = grey[values[first + k]];
      context.putImageData(strip, 0, top);
    }
    draw();
  });
  const self = {
    canvas,
    look: () => look,
    film: () => film,
    isCoarse: () => film && film.width < film.file_width && view.scale * film.file_width > 1.5 * film.width,
    show(next, keepView) {
      film = next;
      fitted = keepView ? fitted : true;
      if (film) paint();
      else draw();
    },
    set(changed) {
      look = { ...look, ...changed };
      look.window = Math.min(Math.max(look.window, 0.01), 1);
      look.level = Math.min(Math.max(look.level, 0), 1);
      paint();
    },
    pan(x, y) {
      fitted = false;
      view.x += x;
      view.y += y;
      draw();
    },
    /** Zoom by a factor about a point of the canvas, its middle if none is given. */
    zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
      const scale = Math.min(Math.max(view.scale * factor, 0.01), 32);
      view = { scale, x: x - ((x - view.x) * scale) / view.scale, y: y - ((y - view.y) * scale) / view.scale };
      fitted = false;
      draw();
    },
    actual: () => self.zoom(1 / view.scale),
    fit() {
      fitted = true;
      draw();
    },
    reset() {
      self.set(newLook());
      self.fit();
    },
    end() {
      sizes.disconnect();
      draw.cancel();
      paint.cancel();
    },
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    self.zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM, event.offsetX * ratio(), event.offsetY * ratio());
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.clientX, y: event.clientY, button: event.button };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const [x, y] = [event.clientX - grip.x, event.clientY - grip.y];
    if (grip.button === 2) self.set({ window: look.window + x / DRAG_PX, level: look.level - y / DRAG_PX });
    else self.pan(x * ratio(), y * ratio());
    Object.assign(grip, { x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (grip = null));
  const sizes = new ResizeObserver(draw);
  sizes.observe(canvas);
  return self;
}

/** Make the buttons of a bar one stop of the tab key, with arrows between them. */
function roveButtons(bar) {
  const all = [...bar.querySelectorAll("button")];
  const stopAt = (one) => all.forEach((other) => (other.tabIndex = other === one ? 0 : -1));
  stopAt(all[0]);
  bar.addEventListener("focusin", ({ target }) => all.includes(target) && stopAt(target));
  bar.addEventListener("keydown", (event) => {
    const seen = all.filter((one) => !one.hidden);
    const at = seen.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    seen.at(to % seen.length).focus();
  });
}

/** Show the case that is `open` over the other parts; return what ends it. */
export function mountReader(el, store) {
  let [asking, opener, filmReady, caseReady] = [null, null, false, false];
  const told = h("p", { class: "mma-told mma-quiet", id: newId() });
  const note = h("div", { class: "mma-film-note" });
  const film = makeFilm((words) => {
    told.textContent = words;
    const look = film.look();
    for (const [name, slider] of Object.entries(sliders)) slider.value = look[name];
    invert.setAttribute("aria-pressed", String(look.inverted));
    full.hidden = !(film.film()?.width < film.film()?.file_width);
    ready();
  });
  film.canvas.setAttribute("aria-describedby", told.id);
  const ready = () => (root.dataset.ready = store.get("open") < 0 || (filmReady && caseReady) ? "1" : "0");

  const load = async (position, wantsFull) => {
    asking?.abort();
    const { signal } = (asking = new AbortController());
    if (!wantsFull) {
      filmReady = false;
      film.show(null);
    }
    fill(note);
    ready();
    const tell = (words) => fill(note, message(words));
    const done = whenLate(tell);
    try {
      const { content, buffers } = await store.request("film", { position, full: wantsFull }, { signal, onProgress: ({ text }) => wantsFull && tell(`Full resolution: ${text}`) });
      if (content.reason) tell(`No image: ${content.reason}`);
      else {
        const { width, height, dtype } = content;
        const { values } = await unpack(buffers[0], [{ name: "values", dtype, offset: 0, length: width * height }]);
        if (signal.aborted) return;
        fill(note);
        film.show({ ...content, values }, wantsFull);
      }
      filmReady = true;
      if (content.reason) ready();
    } catch (error) {
      if (signal.aborted) return;
      fill(note, message(error.message, "error"));
      if (film.film()) film.film().asked = false; // it may be asked for again
      filmReady = true;
      ready();
    } finally {
      done();
    }
  };
  const loadFull = () => {
    const now = film.film();
    if (now && now.width < now.file_width && !now.asked) {
      now.asked = true;
      void load(store.get("open"), true);
    }
  };
  const zoom = (factor) => {
    film.zoom(factor);
    if (film.isCoarse()) loadFull();
  };
  const turn = async (by) => {
    const order = store.get("order");
    const now = store.get("open");
    const at = order.length ? order.indexOf(now) : now;
    const n = order.length || (await store.cases()).n;
    if (at + by < 0 || at + by >= n) return store.say(by < 0 ? "This is the first case" : "This is the last case");
    const next = order.length ? order[at + by] : at + by;
    store.set("open", next);
    return store.say(`Case ${at + by + 1} of ${n}`);
  };
  const close = () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    store.set("focus", store.get("open"));
    store.set("open", -1);
  };
  const wide = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen?.())?.catch(() => undefined);
  const actual = () => {
    film.actual();
    loadFull();
  };
  const acts = {
    p: ["← previous", "Previous case (P)", () => turn(-1)],
    n: ["next →", "Next case (N)", () => turn(1)],
    "-": ["−", "Zoom out (-)", () => zoom(1 / ZOOM)],
    "+": ["+", "Zoom in (+)", () => zoom(ZOOM)],
    0: ["fit", "Fit the film into the window (0)", film.fit],
    1: ["1:1", "One pixel of the film is one of the screen (1)", actual],
    i: ["invert", "Invert (I)", () => film.set({ inverted: !film.look().inverted })],
    o: ["reset", "Reset zoom, window and level (O)", film.reset],
    f: ["full resolution", "Full resolution (F)", loadFull],
    g: ["full screen", "Full screen (G)", wide],
    escape: ["✕ close", "Close (Escape)", close],
  };
  const buttons = Object.fromEntries(Object.entries(acts).map(([key, [words, name, act]]) => [key, button(words, () => act(), { title: name, "aria-label": name })]));
  const [invert, full] = [buttons.i, buttons.f];
  full.hidden = true;
  const sliders = Object.fromEntries(
    ["window", "level"].map((name) => [name, h("input", { type: "range", min: 0.01, max: 1, step: 0.01, oninput: (event) => film.set({ [name]: Number(event.target.value) }) })]),
  );
  const bar = h("div", { class: "mma-bar", role: "toolbar", "aria-label": "Film" }, ...["p", "n", "-", "+", "0", "1", "i", "o", "f", "g", "escape"].map((key) => buttons[key]));
  roveButtons(bar);
  const looks = h("div", { class: "mma-bar" }, ...Object.entries(sliders).map(([name, slider]) => h("label", { class: "mma-slider" }, name, slider)), told, h("p", { class: "mma-told mma-quiet" }, "· drag moves, wheel zooms, right drag windows"));
  const side = h("div", { class: "mma-side" });
  const main = h("div", { class: "mma-reader-main" }, h("div", { class: "mma-stage" }, film.canvas, note), side);
  const root = h("div", { class: "mma-reader", role: "dialog", "aria-modal": "true", "aria-label": "Image and report", hidden: true }, h("div", { class: "mma-reader-box" }, bar, looks, main));
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  root.addEventListener("keydown", (event) => {
    const { key, target, shiftKey } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "Tab") return keepInside(event);
    if (target.matches("input") && key !== "Escape" && (target.type !== "range" || key.startsWith("Page"))) return;
    const way = target === film.canvas && arrows[key];
    const act = acts[{ "=": "+", PageDown: "n", PageUp: "p" }[key] ?? key.toLowerCase()];
    if (way && shiftKey) film.set({ window: film.look().window + way[0] * STEP, level: film.look().level - way[1] * STEP });
    else if (way) film.pan(-way[0] * PAN_PX, -way[1] * PAN_PX);
    else if (act) act[2]();
    else if (!verdictKey(event, store, `sample:${store.get("open")}`, "this image")) return;
    event.preventDefault();
    event.stopPropagation();
  });
  const keepInside = (event) => {
    const all = [...root.querySelectorAll("button, input, [tabindex]")].filter((one) => one.tabIndex >= 0 && one.getClientRects().length);
    const [from, to] = event.shiftKey ? [all[0], all.at(-1)] : [all.at(-1), all[0]];
    if (event.target !== from) return;
    event.preventDefault();
    to.focus();
  };
  el.append(root);

  let endCase = null;
  const show = () => {
    const position = store.get("open");
    const active = root.getRootNode().activeElement;
    if (position < 0) {
      if (root.hidden) return;
      root.hidden = true;
      el.classList.remove("mma-reading");
      asking?.abort();
      film.show(null);
      endCase?.();
      endCase = null;
      ready();
      opener?.focus();
      return;
    }
    if (root.hidden) {
      const here = el.closest(".mma-root")?.contains(active);
      root.hidden = false;
      el.classList.add("mma-reading");
      caseReady = false;
      endCase = mountCase(side, store, {
        follow: "open",
        onReady: () => {
          caseReady = true;
          ready();
        },
      });
      opener = here ? active : null; // another view of the same widget keeps its focus
      if (here) {
        root.scrollIntoView({ block: "start" });
        film.canvas.focus({ preventScroll: true });
      }
    } else caseReady = false;
    void load(position, false);
  };
  const stop = store.on("open", show);
  ready();
  show();
  return () => {
    stop();
    asking?.abort();
    endCase?.();
    film.end();
    root.remove();
  };
}
