// The map: like cases lie near each other, errors are crosses, members of the slice on top. A rectangle or a lasso
// selects; without a mouse, a rectangle that the arrow keys move.

import { MEMBER } from "./cases.js";
import { afterPause, button, everyFrame, fill, h, svg } from "./dom.js";
import { work } from "./work.js";

const WIDE = 65535; // places are 0..WIDE on both axes, upwards on the second
const EDGE_PX = 8;
const CLICK_PX = 4;
const NEAR_PX = 12;
const MAP_STEP = 0.04;
const MANY = 1000;
// Read on light and on dark ground; with the shapes they also differ without colour.
const GREY = "#8a8a8a";
const BLUE = "#0072b2";
const VERMILION = "#d55e00";
const PURPLE = "#cc79a7";
const HELP =
  "Map of the cases. Arrow keys move a rectangle, with Shift they change its size; Enter selects what is inside, with Shift as well; Escape clears.";

/** Return the positions of the points inside a polygon [[x, y], ...] that `allowed` has not 0 for; null: all. */
export function inPolygon(xs, ys, polygon, allowed = null) {
  const [px, py] = [polygon.map((p) => p[0]), polygon.map((p) => p[1])];
  const [left, right, low, high] = [Math.min(...px), Math.max(...px), Math.min(...py), Math.max(...py)];
  const found = [];
  for (let i = 0; i < xs.length; i += 1) {
    const [x, y] = [xs[i], ys[i]];
    if (x < left || x > right || y < low || y > high || (allowed && !allowed[i])) continue;
    let inside = false;
    for (let a = 0, b = px.length - 1; a < px.length; b = a, a += 1) {
      if (py[a] > y !== py[b] > y && x < ((px[b] - px[a]) * (y - py[a])) / (py[b] - py[a]) + px[a]) inside = !inside;
    }
    if (inside) found.push(i);
  }
  return found;
}

/** Return the corners of a rectangle given by two opposite ones. */
export function corners([ax, ay], [bx, by]) {
  return [[ax, ay], [bx, ay], [bx, by], [ax, by]];
}

/** Show the map; return what ends it. */
export function mountMap(el, store) {
  const canvas = h("canvas", { class: "mma-map-points", "aria-hidden": "true" });
  const outline = svg("polygon", { class: "mma-map-outline" });
  const stage = h("div", { class: "mma-map-stage", tabindex: 0, role: "application", "aria-label": HELP}, canvas, svg("svg", { class: "mma-map-over", "aria-hidden": "true" }, outline));
  const modes = ["rectangle", "lasso"].map((name) => button(name, () => setMode(name), { "data-mode": name }));
  const words = h("span", { class: "mma-quiet" });
  const told = h("div");
  const root = h(
    "div", { class: "mma-map", "data-ready": "0" },
    h("div", { class: "mma-bar" }, h("span", { role: "group", "aria-label": "Select by" }, ...modes), h("span", { class: "mma-quiet" }, "▪ right, ✕ wrong; larger: in the slice; ○ selected; faint: filtered out")),
    told, stage, words,
  );
  el.append(root);
  let [cases, map, strength, mode, path, started, box, closed] = [null, null, null, "rectangle", [], null, null, false];

  const setMode = (name) => {
    mode = name;
    for (const one of modes) one.setAttribute("aria-pressed", String(one.dataset.mode === name));
  };
  setMode(mode);
  const size = () => [stage.clientWidth - 2 * EDGE_PX, stage.clientHeight - 2 * EDGE_PX];
  const toMap = (event) => {
    const at = stage.getBoundingClientRect();
    const [w, hh] = size();
    return [((event.clientX - at.left - EDGE_PX) / w) * WIDE, (1 - (event.clientY - at.top - EDGE_PX) / hh) * WIDE];
  };
  const onPage = (x, y) => {
    const [w, hh] = size();
    return [EDGE_PX + (x / WIDE) * w, EDGE_PX + (1 - y / WIDE) * hh];
  };
  const showOutline = (polygon) => outline.setAttribute("points", polygon.map(([x, y]) => onPage(x, y).join(",")).join(" "));

  const draw = everyFrame(() => {
    if (!map?.x || !stage.clientWidth) return;
    const scale = globalThis.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [stage.clientWidth * scale, stage.clientHeight * scale];
    const ctx = canvas.getContext("2d");
    ctx.scale(scale, scale);
    const row = store.get("_rows").find(({ id }) => id === store.get("selected_slice"));
    const wrong = cases.wrong(row?.target_index ?? 0, store.get("_grid").model ?? 0);
    const filter = store.get("filter");
    const layers = { faint: [], right: [], wrong: [], memberRight: [], memberWrong: [] };
    for (let i = 0; i < cases.n; i += 1) {
      if (filter && !filter[i]) layers.faint.push(i);
      else if (strength && strength[i] >= MEMBER) layers[wrong[i] ? "memberWrong" : "memberRight"].push(i);
      else layers[wrong[i] ? "wrong" : "right"].push(i);
    }
    const paint = (which, colour, alpha, width, shape) => {
      [ctx.fillStyle, ctx.strokeStyle, ctx.globalAlpha, ctx.lineWidth] = [colour, colour, alpha, width];
      ctx.beginPath();
      for (const i of which) shape(...onPage(map.x[i], map.y[i]));
      if (width) ctx.stroke();
      else ctx.fill();
    };
    const dot = (r) => (x, y) => ctx.rect(x - r, y - r, 2 * r, 2 * r);
    const cross = (r) => (x, y) => {
      ctx.moveTo(x - r, y - r);
      ctx.lineTo(x + r, y + r);
      ctx.moveTo(x - r, y + r);
      ctx.lineTo(x + r, y - r);
    };
    const ring = (r) => (x, y) => {
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 2 * Math.PI);
    };
    const many = cases.n > 5000 ? 1 : 1.5;
    paint(layers.faint, GREY, 0.2, 0, dot(1));
    paint(layers.right, GREY, 0.7, 0, dot(many));
    paint(layers.wrong, VERMILION, 0.7, 1, cross(1.7 * many));
    // Many marks are drawn small, so that they do not hide each other; what is selected lies under the members.
    const [chosen, small] = [store.selected(), (which) => (which.length > MANY ? 0.5 : 1)];
    if (chosen.length > MANY) paint(chosen, PURPLE, 0.5, 0, dot(1.5));
    else paint(chosen, PURPLE, 1, 1.5, ring(5));
    paint(layers.memberRight, BLUE, 1, 0, dot(2.5 * small(layers.memberRight)));
    paint(layers.memberWrong, VERMILION, 1, 2 * small(layers.memberWrong), cross(4 * small(layers.memberWrong)));
    if (store.get("focus") >= 0) paint([store.get("focus")], PURPLE, 1, 3, ring(8));
    showOutline(box ?? path);
    root.dataset.ready = "1";
  });

  const take = (polygon, more) => {
    if (!map?.x) return;
    const found = inPolygon(map.x, map.y, polygon, store.get("filter"));
    const all = more ? [...new Set([...store.selected(), ...found])] : found;
    store.select(all, `${all.length} cases selected on the map`);
  };
  const nearest = (event) => {
    const [at, filter] = [stage.getBoundingClientRect(), store.get("filter")];
    let [best, least] = [-1, NEAR_PX ** 2];
    for (let i = 0; map?.x && i < cases.n; i += 1) {
      if (filter && !filter[i]) continue;
      const [x, y] = onPage(map.x[i], map.y[i]);
      const far = (x - event.clientX + at.left) ** 2 + (y - event.clientY + at.top) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    if (best >= 0) store.set("focus", best);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    [started, path, box] = [event, [toMap(event)], null];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!started) return;
    const to = toMap(event);
    path = mode === "lasso" ? [...path, to] : corners(path[0], to);
    showOutline(path);
  });
  stage.addEventListener("pointerup", (event) => {
    if (!started) return;
    const moved = Math.hypot(event.clientX - started.clientX, event.clientY - started.clientY) > CLICK_PX || path.length > 8;
    if (moved) take(path, event.shiftKey);
    else nearest(event);
    [started, path] = [null, []];
    draw();
  });
  stage.addEventListener("pointercancel", () => ([started, path] = [null, []]));

  const count = afterPause(() => {
    if (!box || !map?.x) return;
    const found = inPolygon(map.x, map.y, box, store.get("filter"));
    store.say(`${found.length} cases in the rectangle`);
  });
  stage.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-MAP_STEP, 0], ArrowRight: [MAP_STEP, 0], ArrowUp: [0, MAP_STEP], ArrowDown: [0, -MAP_STEP] }[event.key];
    if (by) {
      const [[ax, ay], , [bx, by_]] = box ?? corners([0.4 * WIDE, 0.4 * WIDE], [0.6 * WIDE, 0.6 * WIDE]);
      const [dx, dy] = [by[0] * WIDE, by[1] * WIDE];
      const least = MAP_STEP * WIDE;
      if (event.shiftKey) box = corners([ax, ay], [Math.max(ax + least, bx + dx), Math.max(ay + least, by_ + dy)]);
      else if (box) box = corners([ax + dx, ay + dy], [bx + dx, by_ + dy]);
      else box = corners([ax, ay], [bx, by_]);
      showOutline(box);
      count();
    } else if ((event.key === "Enter" || event.key === " ") && box) take(box, event.shiftKey);
    else if (event.key === "Escape" && box) [box, outline.points.clear()];
    else if (event.key === "Escape") store.select([], "Selection cleared");
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") {
      box = null;
      draw();
    }
  });

  const readSlice = async () => {
    const asked = store.get("selected_slice");
    strength = null;
    draw();
    const found = asked && cases ? await cases.strength(asked).catch(() => null) : null;
    if (asked === store.get("selected_slice")) strength = found;
    draw();
  };
  const start = async () => {
    const found = await work(told, store, "Making the map", async (how) => {
      cases = await store.cases();
      return cases.map(how);
    });
    if (closed) return;
    if (!found) told.append(button("Make the map", start));
    map = found;
    words.textContent = found?.words ?? "";
    stage.hidden = !found?.x;
    if (found && !found.x) root.dataset.ready = "1";
    readSlice();
  };
  const resized = new ResizeObserver(draw);
  resized.observe(stage);
  const ends = [store.on("selected_slice", readSlice), store.on("_selected _rows _grid filter focus", draw)];
  start();
  return () => {
    closed = true;
    resized.disconnect();
    ends.forEach((end) => end());
    draw.cancel();
    count.cancel();
    root.remove();
  };
}
