// Filters by metadata, by text, and to what is selected. Each is {words, column, codes} or {words, mask}; all must
// hold. They are in the local value `filters`, and what they let through in `filter`.

import { unpack } from "./cases.js";
import { button, fill, h } from "./dom.js";
import { work } from "./work.js";

export const MISSING = 255;

/** Return 1 for each case that all filters let through, or null where there are none. */
export function filterMask(n, filters, columns) {
  if (!filters.length) return null;
  const kept = new Uint8Array(n).fill(1);
  for (const { column, codes, mask } of filters) {
    const of = column ? columns.find(({ name }) => name === column)?.codes : mask;
    const let_ = new Uint8Array(256).fill(column ? 0 : 1);
    if (column) for (const code of codes) let_[code] = 1;
    else let_[0] = 0;
    for (let i = 0; of && i < n; i += 1) kept[i] &= let_[of[i]];
  }
  return kept;
}

/** Return what a code of a column means. */
export function valueWords(column, code) {
  return code === MISSING ? "missing" : column.categories[code];
}

/** Let through only these codes of a column; `toggle`: add those that were not let through, take away the others. */
export function filterColumn(store, column, codes, toggle = false) {
  const before = store.get("filters");
  const old = before.find((one) => one.column === column.name);
  const kept = new Set(toggle ? old?.codes : []);
  for (const code of codes) {
    if (kept.has(code) && toggle) kept.delete(code);
    else kept.add(code);
  }
  const [list, others] = [[...kept].sort((a, b) => a - b), before.filter((one) => one !== old)];
  const range = column.kind === "number" && list.length > 2;
  const said = range ? [valueWords(column, list[0]), "…", valueWords(column, list.at(-1))].join(" ") : list.map((code) => valueWords(column, code)).join(" or ");
  const words = `${column.name} = ${said}`;
  if (!list.length) return store.change(`Filter removed: ${old.words}`, { filters: others });
  return store.change(`Filter: ${words}`, { filters: [...others, { words, column: column.name, codes: list }] });
}

/** Show the bar of filters; return what ends it. */
export function mountFilters(el, store) {
  const select = (name, onchange) => h("select", { class: "mma-select", "aria-label": name, onchange });
  const by = select("Filter by column", () => choose());
  const from = select("Value", () => undefined);
  const to = select("Up to", () => undefined);
  const add = button("Filter", () => {
    const [a, b] = [Number(from.value), to.hidden ? Number(from.value) : Number(to.value)];
    const codes = to.hidden ? [a] : Array.from({ length: Math.abs(b - a) + 1 }, (_, k) => Math.min(a, b) + k);
    filterColumn(store, columns[by.value], codes);
  });
  const text = h("input", { class: "mma-input", type: "search", placeholder: "words in the report", "aria-label": "Search in the reports", dir: "auto" });
  const affirmed = h("input", { type: "checkbox" });
  const search = h("form", { class: "mma-explorer-search", role: "search", onsubmit: (event) => (event.preventDefault(), find()) }, text, h("label", { class: "mma-explorer-check" }, affirmed, "not negated"), button("Search", null, { type: "submit" }));
  const only = button("Only selected", () => {
    const chosen = store.selected();
    const mask = new Uint8Array(cases.n);
    for (const i of chosen) mask[i] = 1;
    put({ words: `${chosen.length} selected`, mask, of: "selected" });
  });
  const chips = h("span", { class: "mma-explorer-chips", role: "group", "aria-label": "Filters in use" });
  const count = h("span", { class: "mma-quiet mma-explorer-count" });
  const told = h("div");
  const meta = h("span", { class: "mma-explorer-search", role: "group", "aria-label": "Filter by metadata" }, by, from, to, add);
  const root = h("div", { class: "mma-filters" }, h("div", { class: "mma-bar" }, count, meta, search, only, chips), told);
  el.append(root);
  meta.hidden = search.hidden = true;
  let [cases, columns] = [null, []];

  const put = (filter) => {
    const others = store.get("filters").filter(({ of }) => !of || of !== filter.of);
    store.change(`Filter: ${filter.words}`, { filters: [...others, filter] });
  };
  const choose = () => {
    const column = columns[by.value];
    const options = () => column.categories.map((name, k) => h("option", { value: k }, name));
    const missing = column.codes.includes(MISSING) ? [h("option", { value: MISSING }, "missing")] : [];
    to.hidden = column.kind !== "number";
    fill(from, ...options(), ...(to.hidden ? missing : []));
    fill(to, ...options());
    from.setAttribute("aria-label", to.hidden ? "Value" : "From");
    to.value = column.categories.length - 1;
  };
  const find = async () => {
    const words = text.value.trim();
    if (!words) return;
    const answer = await work(told, store, `Searching for “${words}”`, (how) =>
      store.request("search", { text: words, affirmed_only: affirmed.checked }, how),
    );
    if (!answer) return;
    const { found } = await unpack(answer.buffers[0], answer.content.sections);
    put({ words: `“${words}”${affirmed.checked ? ", not negated" : ""}`, mask: found });
  };
  const show = () => {
    if (!cases) return;
    const filters = store.get("filters");
    const mask = filterMask(cases.n, filters, columns);
    store.set("filter", mask);
    const n = mask ? mask.reduce((sum, one) => sum + one, 0) : cases.n;
    count.textContent = mask ? `${n.toLocaleString("en")} of ${cases.n.toLocaleString("en")} cases` : `${n.toLocaleString("en")} cases`;
    const inside = chips.contains(document.activeElement);
    fill(
      chips,
      ...filters.map((one) =>
        button(`${one.words} ✕`, () => store.change(`Filter removed: ${one.words}`, { filters: store.get("filters").filter((other) => other !== one) }), { "aria-label": `Remove filter ${one.words}`, dir: "auto" }),
      ),
      filters.length > 1 ? button("Clear all filters", () => store.change("All filters removed", { filters: [] })) : null,
    );
    if (inside) (chips.querySelector("button") ?? text).focus();
  };
  const showSelected = () => (only.disabled = !store.selected().length);
  const ends = [store.on("filters", show), store.on("_selected", showSelected)];
  showSelected();
  store.cases().then(async (found) => {
    cases = found;
    search.hidden = !cases.hasReports;
    show();
    columns = await cases.columns();
    meta.hidden = !columns.length;
    if (columns.length) {
      fill(by, ...columns.map(({ name }, k) => h("option", { value: k }, name)));
      choose();
    }
    show();
  }, () => undefined);
  return () => {
    ends.forEach((end) => end());
    root.remove();
  };
}
