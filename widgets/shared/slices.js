// The table of slices: sorted, filtered, renamed, hidden, merged, split, and given a verdict; a row opens onto its card.
// Words of a row are Python's, shapes and bars are those of table.css.

import { afterPause, button, everyFrame, fill, h } from "./dom.js";
import { VERDICTS, giveVerdict, mountVerdict, verdictKey, verdictOf } from "./verdicts.js";
import { work } from "./work.js";

// Class, heading, and what it sorts by: a name, the key of a row, whether the least comes first; as SORTS of _rows.py.
const SLICE_COLUMNS = [
  ["open", "Card"],
  ["slice", "Slice", "rank", "rank", true],
  ["kind", "Errors"],
  ["gap", "Gap, points", "gap", "gap", false],
  ["n", "Patients", "size", "n_patients", false],
  ["q", "q", "q", "q", true],
  ["stable", "Stability", "stability", "stability", false],
  ["terms", "More often"],
  ["found", "Found in"],
  ["shared", "Overlap"],
  ["verdict", "Verdict"],
];
const KEYS = "Keys: ↑↓ rows (↑ at the top: sort), Enter card, Space select, F2 rename, H hide, A R Q verdict, Ctrl+Z undo";

/** Return the slices that are shown, in their order; `order` of _rows.py does the same. */
export function sliceOrder(rows, table, { names, hidden }) {
  const key = SLICE_COLUMNS.find((column) => column[2] === table.sort)[3];
  const sign = table.ascending ? 1 : -1;
  const words = table.text.toLowerCase().split(/\s+/);
  return rows
    .filter((row) => {
      const said = [row.id, names[row.id], row.name, row.sentence, row.rule, row.target, row.modality, ...row.terms.map((term) => term.text)];
      const text = said.join(" ").toLowerCase();
      return (
        (!table.kinds.length || table.kinds.includes(row.error_type)) &&
        (row.confirmed || !table.confirmed) &&
        (table.hidden || !hidden.includes(row.id)) &&
        words.every((word) => text.includes(word))
      );
    })
    .sort((a, b) => (a[key] === null) - (b[key] === null) || sign * (a[key] - b[key]) || a.rank - b.rank);
}

/** Return a bar from zero to the gap with its interval, for table.css to draw; all rows have one scale. */
export function gapBar({ gap, ci_low, ci_high }, rows) {
  const all = rows.flatMap((row) => [row.gap, row.ci_low, row.ci_high]);
  const [low, high] = [Math.min(0, ...all), Math.max(0.1, ...all)];
  const places = { zero: 0, gap: gap ?? 0, low: ci_low ?? gap ?? 0, high: ci_high ?? gap ?? 0 };
  const style = Object.entries(places).map(([name, value]) => `--mma-${name}:${3 + (94 * (value - low)) / (high - low)}%`);
  return h("span", { class: "mma-gap", style: style.join(";") });
}

const termChip = ({ text, category, status, said }) =>
  h("span", { class: "mma-chip mma-term", "data-category": category, "data-status": status, title: said },
    h("span", { class: "mma-unseen" }, `${said}: `), h("bdi", {}, text));

const cardList = (title, items) =>
  items.length ? [h("p", { role: "heading", "aria-level": 4 }, title), h("ul", {}, ...items.map((item) => h("li", {}, ...[item].flat())))] : [];

const cardPart = ({ name, text, holds, standing, numbers }) => [
  h("span", { class: "mma-chip" }, name), h(holds === false ? "s" : "strong", { dir: "auto" }, text),
  h("div", { class: "mma-quiet", "data-holds": String(holds) }, `${standing}; ${numbers}`),
];
const cardTerm = ({ text, tags, words }) => [h("bdi", {}, text), tags.length ? ` [${tags.join("; ")}], ` : ", ", words];

export const cardContent = (card) => [
  h("p", { class: "mma-lead", dir: "auto" }, card.sentence),
  h("p", {}, h("strong", {}, card.verdict), card.reason && `: ${card.reason}`),
  h("dl", {}, ...card.facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", { dir: "auto" }, text)))),
  ...cardList("What it is", [...(card.what.sentence ? [card.what.sentence] : []), ...card.what.parts.map(cardPart)]),
  ...cardList("What its reports say more often", card.terms.map(cardTerm)),
  ...cardList("Said to be absent more often", card.absent.map(cardTerm)),
  ...cardList("What its members have more often", card.traits),
  h("p", {}, [card.left_out, card.leakage].join(" ")),
  ...cardList("What its errors look like", card.triage ? [card.triage] : []),
  h("details", {}, h("summary", {}, "How it was tested, and what this does not show"), h("ul", {}, ...[...card.tested, ...card.limits].map((text) => h("li", {}, text)))),
];

/** Show the slices; return what ends it. `undo`: whether the table has a button that undoes. */
export function mountTable(el, store, { undo = false } = {}) {
  const trs = new Map(); // of the rows that are shown, by id
  const cards = new Map(); // of those that are open
  const marks = new Set();
  let [shown, at, busy, waiting, field] = [[], "", false, 0, null];

  const edits = () => store.get("_edits");
  const nameOf = (id) => edits().names[id] || store.get("_rows").find((row) => row.id === id)?.name || id;
  const selected = () => store.get("selected_slice");
  const press = (one, on) => one.setAttribute("aria-pressed", String(on));

  const turn = (words, values) => {
    const table = { ...store.get("_table"), ...values };
    store.change(`${words}: ${sliceOrder(store.get("_rows"), table, edits()).length} slices`, { _table: table });
  };
  const edit = (words, values) => store.change(words, { _edits: { ...edits(), ...values } });
  const select = (id) => store.change(id ? `Slice ${nameOf(id)}` : "No slice selected", { selected_slice: id });
  const mark = (id) => {
    if (!marks.delete(id)) marks.add(id);
    store.say(`${marks.size} marked`);
    refresh();
  };
  const hide = (id) => {
    const { hidden } = edits();
    const again = hidden.includes(id);
    edit(`${nameOf(id)} ${again ? "shown again" : "hidden"}`, { hidden: again ? hidden.filter((one) => one !== id) : [...hidden, id] });
  };
  const rename = (id) => {
    const before = nameOf(id);
    field = h("input", { class: "mma-input", maxlength: 200, dir: "auto", "aria-label": `New name of ${before}`, value: before });
    const end = () => {
      const text = field.value.trim();
      field.onblur = field = null;
      if (text !== before) edit(`${before} renamed`, { names: { ...edits().names, [id]: text } });
      refresh();
    };
    field.onblur = end;
    field.onkeydown = (event) => {
      if (event.key === "Escape") field.value = before;
      if (event.key !== "Escape" && event.key !== "Enter") return;
      event.stopPropagation();
      end();
      trs.get(id).focus();
    };
    fill(trs.get(id).querySelector(".mma-name"), field);
    field.select();
  };
  const test = async (what, slices) => {
    const [hidden, chosen] = [edits().hidden, selected()];
    busy = true;
    refresh();
    const name = slices.map(nameOf).join(" or ").slice(0, 200);
    const answer = await work(told, store, `Testing the ${what}`, (how) => store.request("test", { what, slices, name, positions: [...store.selected()], slice: chosen }, how));
    busy = false;
    if (answer) {
      const { ids } = answer.content;
      marks.clear();
      at = ids[0];
      // Undone, the slices that it was made from are back; what was tested stays counted, and is hidden.
      const parents = answer.content.hidden.filter((id) => !hidden.includes(id));
      store.remember(
        `Tested the ${what}`,
        { selected_slice: chosen, _edits: { hidden: ids } },
        { selected_slice: selected(), _edits: { hidden: parents } },
      );
    }
    draw();
    if (document.activeElement === document.body) trs.get(at)?.focus(); // the button that was pressed had been disabled
  };

  const open = (id) => {
    const [content, verdict] = [h("div"), h("div")];
    const end = mountVerdict(verdict, store, `slice:${id}`, nameOf(id));
    const tr = h("tr", { "aria-level": 2 }, h("td", { colspan: 99 }, h("div", { class: "mma-slice-card" }, verdict, content)));
    const read = async () => {
      waiting += 1;
      const late = setTimeout(fill, 2000, content, "waiting for the kernel…");
      try {
        const card = store.get("_cards")[id] ?? (await store.request("card", { slice_id: id })).content.card;
        fill(content, ...cardContent(card));
      } catch (error) {
        fill(content, error.message);
      }
      clearTimeout(late);
      waiting -= 1;
      refresh();
    };
    cards.set(id, { tr, read, end });
    read();
    refresh();
  };
  const toggle = (id) => {
    if (!cards.has(id)) return open(id);
    cards.get(id).end();
    cards.delete(id);
    return refresh();
  };

  const trOf = (row, rows) => {
    const { id, words } = row;
    const [own, chosen, code] = [nameOf(id), selected(), verdictOf(store, `slice:${id}`)];
    const share = row.overlap[chosen] && `${Math.round(100 * row.overlap[chosen])} %`;
    const [isOpen, isHidden] = [cards.has(id), edits().hidden.includes(id)];
    const small = (words, name, act, on) => {
      const one = button(words, act, { tabindex: -1, title: name, "aria-label": `${name}: ${own}` });
      press(one, on);
      return one;
    };
    const said = [own, words.said, share && `overlap ${share}`, code && `verdict ${code}`, marks.has(id) && "marked", isHidden && "hidden"];
    const cells = [
      [small(isOpen ? "▾" : "▸", "card", () => toggle(id), isOpen), store.lacks("test") ? null : small(marks.has(id) ? "☑" : "☐", "mark", () => mark(id), marks.has(id))].filter(Boolean),
      [
        h("span", { class: "mma-name", dir: "auto", ondblclick: () => rename(id) }, own), " ",
        ...[words.about, words.standing, words.origin].filter(Boolean).map((word) => h("span", { class: "mma-chip" }, word)),
        h("div", { class: "mma-sentence mma-quiet", dir: "auto" }, row.sentence),
      ],
      [words.kind],
      [gapBar(row, rows), words.gap],
      [row.n_patients],
      [words.q],
      [words.stability],
      row.terms.slice(0, 4).map(termChip),
      [row.modality],
      [share && h("span", { class: "mma-share", style: `--mma-share:${share.replace(" ", "")}` }, share)],
      VERDICTS.map((one) => small(one.mark, one.words, () => giveVerdict(store, `slice:${id}`, one.code, own), one.code === code)),
    ].map((inside, k) => h(k === 1 ? "th" : "td", { class: `mma-col-${SLICE_COLUMNS[k][0]}`, scope: k === 1 && "row" }, ...inside));
    return h("tr", {
      "data-id": id, "data-kind": row.error_type, "data-confirmed": String(row.confirmed), "data-hidden": String(isHidden), tabindex: id === at ? 0 : -1,
      "aria-level": 1, "aria-selected": String(chosen === id), "aria-expanded": String(isOpen), "aria-label": said.filter(Boolean).join(", "),
    }, ...cells);
  };
  const focus = (id) => {
    trs.get(at)?.setAttribute("tabindex", -1);
    at = id;
    trs.get(id)?.setAttribute("tabindex", 0);
    trs.get(id)?.focus();
  };

  const text = h("input", { class: "mma-input", type: "search", placeholder: "filter by words", "aria-label": "Filter by words", maxlength: 500, dir: "auto" });
  const typed = afterPause(() => turn(`Filter ${text.value}`, { text: text.value }));
  text.oninput = () => typed();
  const kinds = h("span", { role: "group", "aria-label": "Kinds of error" });
  const confirmed = button("✓ confirmed only", () => turn("Confirmed", { confirmed: !store.get("_table").confirmed }));
  const withHidden = button("", () => turn("Hidden", { hidden: !store.get("_table").hidden }));
  const undoing = button("↶ undo", () => store.undo());
  const count = h("span", { class: "mma-quiet" });
  const renaming = button("Rename", () => rename(selected()));
  const hiding = button("", () => hide(selected()));
  const merging = button("", () => test("merge", [...marks]));
  const splitting = button("", () => test("split", [selected()]));
  const told = h("div", { dir: "auto" });
  const heads = SLICE_COLUMNS.map(([column, words, sort, , first]) => {
    const sortBy = () => {
      const before = store.get("_table");
      const ascending = before.sort === sort ? !before.ascending : first;
      turn(`Sorted by ${sort}, ${ascending ? "ascending" : "descending"}`, { sort, ascending });
    };
    return h("th", { scope: "col", class: `mma-col-${column}` }, sort ? button(words, sortBy, { tabindex: -1, "data-sort": sort }) : words);
  });
  const sorts = heads.filter((th) => th.firstElementChild).map((th) => th.firstChild);
  const body = h("tbody");
  const table = h("table", { role: "treegrid", "aria-label": "Slices", tabindex: -1 }, h("thead", {}, h("tr", {}, ...heads)), body);
  const empty = h("p", { class: "mma-message" });
  const bar = (words, ...inside) => h("div", { class: "mma-bar", role: "group", "aria-label": words }, ...inside);
  const root = h("div", { class: "mma-table" },
    bar("Filter", text, kinds, confirmed, withHidden, undo ? undoing : null, count),
    bar("Selected and marked slices", renaming, hiding, merging, splitting), told,
    h("div", { class: "mma-scroll" }, table, empty), h("p", { class: "mma-quiet" }, KEYS, store.lacks("test") ? null : ", M mark"));

  const idOf = (event) => event.target.closest("tr[data-id]")?.dataset.id;
  body.onclick = (event) => {
    const id = idOf(event);
    if (!id || event.target.closest("button, input")) return;
    focus(id);
    if (selected() !== id) select(id);
  };
  table.onkeydown = (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input")) return;
    const go = (list, place, from) => list[Math.max(0, Math.min({ Home: 0, End: list.length - 1, ...place }[key] ?? from, list.length - 1))];
    const id = idOf(event);
    const place = shown.findIndex((row) => row.id === id);
    const acts = {
      Enter: () => toggle(id),
      ArrowRight: () => cards.has(id) || open(id),
      ArrowLeft: () => cards.has(id) && toggle(id),
      " ": () => select(selected() === id ? "" : id),
      m: () => store.lacks("test") || mark(id),
      h: () => hide(id),
      F2: () => rename(id),
      Escape: () => (marks.size ? (marks.clear(), refresh()) : selected() && select("")),
    };
    const act = acts[key.length > 1 ? key : key.toLowerCase()];
    if (sorts.includes(target)) {
      const from = sorts.indexOf(target);
      if (key === "ArrowDown") focus(at);
      else if (/^(Arrow(Left|Right)|Home|End)$/.test(key)) go(sorts, { ArrowLeft: from - 1, ArrowRight: from + 1 }, from).focus();
      else return;
    } else if (!id) {
      const [of] = [...cards].find(([, card]) => card.tr.contains(target)) ?? [];
      if (key !== "Escape" || !of) return;
      focus(of);
    } else if (key === "ArrowUp" && !place) sorts.find((one) => one.dataset.sort === store.get("_table").sort).focus();
    else if (/^(Arrow(Up|Down)|Page(Up|Down)|Home|End)$/.test(key)) focus(go(shown, { ArrowUp: place - 1, ArrowDown: place + 1, PageUp: place - 10, PageDown: place + 10 }, place).id);
    else if (target.closest("button")) return;
    else if (act) act();
    else return void verdictKey(event, store, `slice:${id}`, nameOf(id));
    event.preventDefault();
  };

  const draw = () => {
    if (field) return; // a name is being typed
    const [rows, how, { hidden }] = [store.get("_rows"), store.get("_table"), edits()];
    const place = shown.findIndex((row) => row.id === at);
    shown = sliceOrder(rows, how, edits());
    for (const id of marks) if (!shown.some((row) => row.id === id)) marks.delete(id); // what is not seen is not merged
    if (!shown.some((row) => row.id === at)) at = (shown.find((row) => row.id === selected()) ?? shown[Math.max(0, Math.min(place, shown.length - 1))])?.id;
    const page = root.getRootNode();
    const active = body.contains(page.activeElement) && page.activeElement;
    // JupyterLab takes the focus when the element that has it leaves the page.
    if (active) table.focus({ preventScroll: true });
    trs.clear();
    for (const row of shown) trs.set(row.id, trOf(row, rows));
    fill(body, ...[...trs].flatMap(([id, tr]) => (cards.has(id) ? [tr, cards.get(id).tr] : [tr])));
    if (active) (active.isConnected ? active : trs.get(at))?.focus({ preventScroll: true });

    for (const one of sorts) one.parentNode.setAttribute("aria-sort", one.dataset.sort !== how.sort ? "none" : how.ascending ? "ascending" : "descending");
    const names = new Map(rows.map((row) => [row.error_type, row.error_name]));
    if (names.size !== kinds.children.length)
      fill(kinds, ...[...names].map(([kind, name]) => button(name, () => {
        const before = store.get("_table").kinds;
        turn(name, { kinds: before.includes(kind) ? before.filter((one) => one !== kind) : [...before, kind] });
      }, { "data-kind": kind })));
    for (const one of kinds.children) press(one, how.kinds.includes(one.dataset.kind));
    press(confirmed, how.confirmed);
    press(withHidden, how.hidden);
    if (page.activeElement !== text) text.value = how.text;
    withHidden.textContent = `show ${hidden.length} hidden`;
    undoing.disabled = !store.get("undone");
    count.textContent = `${shown.length} of ${rows.length} slices`;
    const [some, n] = [trs.has(selected()), (store.get("_selected")?.byteLength ?? 0) / 4];
    renaming.disabled = hiding.disabled = !some;
    hiding.textContent = hidden.includes(selected()) ? "Show again" : "Hide";
    merging.textContent = `Merge marked (${marks.size})`;
    merging.disabled = busy || marks.size < 2;
    splitting.textContent = `Split by selection (${n})`;
    splitting.disabled = busy || !some || !n;
    merging.hidden = splitting.hidden = store.lacks("test");
    empty.hidden = shown.length > 0;
    empty.textContent = rows.length ? "The filter leaves no slice." : "The audit found no slice to show.";
    root.dataset.ready = waiting ? "0" : "1";
  };
  const soon = everyFrame(draw);
  const refresh = () => {
    root.dataset.ready = "0";
    soon();
  };
  el.append(root);
  draw();
  const ends = [
    store.on("_rows _edits _table _verdicts _selected selected_slice undone", refresh),
    store.on("_cards", () => cards.forEach((card) => card.read())),
    soon.cancel,
    typed.cancel,
  ];
  return () => {
    ends.forEach((end) => end());
    cards.forEach((card) => card.end());
    root.remove();
  };
}
