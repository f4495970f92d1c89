// Metadata: how often each value is in the slice, and in the rest of the cases that it is compared with.

import { MEMBER } from "./cases.js";
import { everyFrame, fill, h, svg } from "./dom.js";
import { MISSING, filterColumn, valueWords } from "./filters.js";

const MOST_ROWS = 12;

/** Return how often each code is inside, and outside, of a group: two arrays of 256 counts, and both totals. */
export function countCodes(codes, inside, compared) {
  const [a, b] = [new Uint32Array(256), new Uint32Array(256)];
  for (let i = 0; i < codes.length; i += 1) if (compared(i)) (inside(i) ? a : b)[codes[i]] += 1;
  return { a, b, n: a.reduce((x, y) => x + y, 0), m: b.reduce((x, y) => x + y, 0) };
}

/** Show the values of each column; return what ends it. */
export function mountMetadata(el, store) {
  const words = h("p", { class: "mma-quiet" }, "…");
  const list = h("div", { class: "mma-metadata-columns" });
  const root = h("div", { class: "mma-metadata", "data-ready": "0" }, words, list);
  el.append(root);
  let [cases, columns, asked] = [null, [], 0];

  const show = everyFrame(async () => {
    if (!cases) return;
    asked += 1;
    const turn = asked;
    const id = store.get("selected_slice");
    const row = store.get("_rows").find((one) => one.id === id);
    const strength = id ? await cases.strength(id).catch(() => null) : null;
    if (turn !== asked) return;
    const chosen = strength ? null : new Set(store.selected());
    const [truth, label] = [cases.truth(row?.target_index ?? 0), row?.label ?? ""];
    const compared = (i) => !strength || (label === "" ? truth[i] >= 0 : truth[i] === Number(label));
    const inside = (i) => (strength ? strength[i] >= MEMBER : chosen.has(i));
    const name = strength ? `slice ${id}` : "the selection";
    const with_ = !strength || label === "" ? "" : label === "1" ? ` with ${row.target}` : ` without ${row.target}`;
    const counted = columns.map((column) => {
      const { a, b, n, m } = countCodes(column.codes, inside, compared);
      const rows = [...column.categories.keys(), MISSING]
        .filter((code) => a[code] + b[code])
        .map((code) => ({ code, a: a[code], b: b[code], in_: n ? a[code] / n : 0, out: m ? b[code] / m : 0 }));
      return { column, n, m, rows, differ: n && m ? rows.reduce((sum, one) => sum + Math.abs(one.in_ - one.out), 0) : 0 };
    });
    const { n = 0, m = 0 } = counted[0] ?? {};
    words.textContent = !columns.length
      ? "There is no metadata to show."
      : n
        ? `Filled: ${name}, ${n.toLocaleString("en")} cases. Outlined: the other ${m.toLocaleString("en")}${with_}. Of both parts. What differs most comes first; choose a value to filter.`
        : "Choose a slice or select cases to compare. Choose a value to filter.";
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    fill(list, ...counted.sort((p, q) => q.differ - p.differ).map((one) => block(one, name)));
    const buttons = [...list.querySelectorAll("button")];
    const back = buttons.find((one) => one.dataset.key === focused);
    (back ?? buttons[0])?.setAttribute("tabindex", "0");
    back?.focus();
    showFilters();
    root.dataset.ready = "1";
  });

  const block = ({ column, n, m, rows }, name) => {
    const most = column.kind === "number" ? rows : [...rows].sort((p, q) => q.a + q.b - p.a - p.b).slice(0, MOST_ROWS);
    const percent = (share) => `${Math.round(100 * share)} %`;
    return h(
      "div",
      { class: "mma-metadata-column", role: "group", "aria-label": column.name },
      h("div", { class: "mma-metadata-name", dir: "auto" }, column.name),
      ...most.map(({ code, a, b, in_, out }) => {
        const said = valueWords(column, code);
        const full = `${column.name} = ${said}: ${n ? `${percent(in_)} of ${name} (${a} of ${n}), ` : ""}${percent(out)} of the rest (${b} of ${m})`;
        const bars = svg("svg", { class: "mma-metadata-bars", viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" });
        if (n) bars.append(svg("rect", { class: "mma-metadata-in", x: 0, y: 0, width: 100 * in_, height: 7 }));
        bars.append(svg("rect", { class: "mma-metadata-out", x: 0, y: 8, width: 100 * out, height: 5 }));
        const shares = n ? `${percent(in_)} / ${percent(out)}` : percent(out);
        return h(
          "button",
          { type: "button", class: "mma-metadata-value", tabindex: -1, title: full, "aria-label": full, "data-key": `${column.name}:${code}`, "data-code": code, "aria-pressed": "false", onclick: () => filterColumn(store, column, [code], true) },
          h("span", { class: "mma-metadata-word", dir: "auto" }, said), bars, h("span", { class: "mma-metadata-share" }, shares),
        );
      }),
      rows.length > most.length ? h("span", { class: "mma-quiet" }, `and ${rows.length - most.length} rarer values`) : null,
    );
  };
  const showFilters = () => {
    const chosen = new Set(store.get("filters").flatMap(({ column, codes = [] }) => codes.map((code) => `${column}:${code}`)));
    for (const one of list.querySelectorAll("button")) one.setAttribute("aria-pressed", String(chosen.has(one.dataset.key)));
  };
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(to, buttons.length - 1))].focus();
  });
  list.addEventListener("focusin", (event) => {
    for (const one of list.querySelectorAll("button")) one.tabIndex = one === event.target ? 0 : -1;
  });

  const ends = [store.on("selected_slice _rows", show), store.on("_selected", () => store.get("selected_slice") || show()), store.on("filters", showFilters)];
  store.cases().then(async (found) => {
    columns = await found.columns();
    cases = found;
    show();
  }).catch((error) => (words.textContent = error.message));
  return () => {
    ends.forEach((end) => end());
    show.cancel();
    root.remove();
  };
}
