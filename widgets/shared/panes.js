// The explorer: all parts beside each other, linked by the store; and "test this selection".

import { afterPause, button, fill, h, newId } from "./dom.js";
import { mountFilters } from "./filters.js";
import { mountMap } from "./map.js";
import { mountMetadata } from "./metadata.js";
import { mountCase, mountReader } from "./reader.js";
import { mountTable } from "./slices.js";
import { mountGrid } from "./tiles.js";
import { SLOW_MS, work } from "./work.js";

const HEADER_PX = 34;
const HONEST = "Tested on held-out patients, beside all slices of the audit and all groups tested here before. Choose by metadata, text or the look of images: a group chosen by looking at predictions has a gap by construction.";

/** Show all parts; return what ends them. */
export function mountExplorer(el, store) {
  const pane = (name) => h("section", { class: `mma-explorer-pane mma-explorer-pane-${name}` });
  const [bars, left, right, side, read] = ["bars", "table", "grid", "side", "case"].map(pane);
  const root = h("div", { class: "mma-explorer", "data-ready": "0" }, h("div", { class: "mma-explorer-panes" }, bars, left, right, side, read));
  el.append(root);
  const ends = [
    mountFilters(bars, store),
    mountTested(bars, store),
    mountTable(left, store),
    mountGrid(right, store, { chooser: false }),
    mountCase(read, store),
    mountTabs(side, "Details", [
      ["Metadata", (at) => mountMetadata(at, store)],
      ...(store.lacks("map") ? [] : [["Map", (at) => mountMap(at, store)]]),
    ]),
    mountReader(root, store),
  ];
  const told = h("div");
  bars.append(told);
  const slow = setTimeout(() => fill(told, h("div", { class: "mma-message" }, "Waiting for the kernel. Where there is none, run the cell again; the table works without.")), SLOW_MS);
  store.cases().then(() => {
    clearTimeout(slow);
    fill(told);
    root.dataset.ready = "1";
  }, () => clearTimeout(slow));
  // The row of the slice comes into view, whoever selected it.
  const find = afterPause(() => {
    const row = left.querySelector('tr[aria-selected="true"]');
    const [box, at] = [row?.closest(".mma-scroll"), row?.getBoundingClientRect()];
    const [top, bottom] = [box?.getBoundingClientRect().top + HEADER_PX, box?.getBoundingClientRect().bottom];
    if (row && (at.top < top || at.bottom > bottom)) box.scrollTop += at.top - top;
  });
  ends.push(store.on("selected_slice", find), find.cancel, () => clearTimeout(slow));
  return () => {
    ends.forEach((end) => end());
    root.remove();
  };
}

/** Show one of several panels, mounted when it is first looked at; return what ends them. */
export function mountTabs(el, name, tabs) {
  const [ends, ids] = [[], tabs.map(newId)];
  const buttons = tabs.map(([words], k) => h("button", { type: "button", class: "mma-button mma-explorer-tab", role: "tab", id: ids[k], "aria-controls": `${ids[k]}-panel`, onclick: () => choose(k) }, words));
  const panels = tabs.map((_, k) => h("div", { class: "mma-explorer-panel", role: "tabpanel", id: `${ids[k]}-panel`, "aria-labelledby": ids[k], tabindex: 0 }));
  const list = h("div", { class: "mma-bar", role: "tablist", "aria-label": name }, ...buttons);
  const choose = (chosen) => {
    for (let k = 0; k < tabs.length; k += 1) {
      buttons[k].setAttribute("aria-selected", String(k === chosen));
      buttons[k].tabIndex = k === chosen ? 0 : -1;
      panels[k].hidden = k !== chosen;
    }
    ends[chosen] ??= tabs[chosen][1](panels[chosen]);
  };
  list.addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!by) return;
    const to = (buttons.indexOf(document.activeElement) + by + tabs.length) % tabs.length;
    choose(to);
    buttons[to].focus();
  });
  el.append(list, ...panels);
  choose(0);
  return () => ends.forEach((end) => end?.());
}

/** Show what is selected, and test it as a guess; return what ends it. */
export function mountTested(el, store) {
  const count = h("span", { class: "mma-explorer-count" });
  const all = button("Select shown", () => {
    const found = [...store.get("filter").entries()].filter(([, one]) => one).map(([i]) => i);
    store.select(found, `${found.length} shown cases selected`);
  });
  const clear = button("Clear selection", () => store.select([], "Selection cleared"));
  const name = h("input", { class: "mma-input", type: "text", placeholder: "name of the group", "aria-label": "Name of the group", dir: "auto", maxlength: 80 });
  const ask = button("Test this selection", null, { type: "submit", title: HONEST });
  const undo = button("Undo", () => store.undo());
  const form = h("form", { class: "mma-explorer-search", onsubmit: (event) => (event.preventDefault(), test()) }, name, ask);
  const told = h("div");
  const root = h("div", { class: "mma-tested" }, h("div", { class: "mma-bar" }, count, all, clear, form, undo), told);
  el.append(root);
  let running = false;

  const show = () => {
    const n = store.selected().length;
    count.textContent = `${n.toLocaleString("en")} selected`;
    clear.disabled = !n;
    ask.disabled = name.disabled = !n || running;
    all.disabled = !store.get("filter");
    undo.disabled = !store.get("undone");
    form.hidden = store.lacks("test");
  };
  const test = async () => {
    running = true;
    show();
    const slice = store.get("selected_slice");
    const asked = { what: "selection", name: name.value, positions: [...store.selected()], slice };
    const answer = await work(told, store, "Testing the selection", (how) => store.request("test", asked, how));
    running = false;
    if (answer) {
      const { ids, n_tested: n, most } = answer.content;
      const rows = store.get("_rows").filter(({ id }) => ids.includes(id));
      // Taken back, the rows are hidden: what was tested stays counted.
      const [before, after] = [{ selected_slice: slice, _edits: { hidden: ids } }, { selected_slice: ids[0], _edits: { hidden: [] } }];
      store.remember(`Tested ${rows[0].name}: ${rows.map(({ error_name: of, confirmed }) => `${of} ${confirmed ? "confirmed" : "not confirmed"}`).join(", ")}`, before, after);
      const counted = `${n} of ${most} groups tested beside this audit. Undo hides the rows; the test stays counted.`;
      fill(told, h("div", { class: "mma-message" }, ...rows.map(({ sentence }) => h("div", { dir: "auto" }, sentence)), h("div", { class: "mma-quiet" }, counted, " ", button("Close", () => fill(told)))));
      name.value = "";
    }
    show();
  };
  const end = store.on("_selected filter undone", show);
  show();
  return () => {
    end();
    root.remove();
  };
}
