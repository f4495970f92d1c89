// Two saved audits beside each other: which slices are the same, and how large their gaps are. Nothing is tested here.

import { MEMBER } from "../shared/cases.js";
import { button, fill, h } from "../shared/dom.js";
import { cardContent, gapBar } from "../shared/slices.js";
import { markOf } from "../shared/verdicts.js";
import { style } from "./common.js";
import { readSaved } from "./saved.js";

const SAME = 0.5; // Jaccard index from which two slices match, as in the stability of an audit
const LEAST_SHARED = 20; // cases that both audits have, below which slices are matched by their rules alone
const MOST_WORK = 5e8; // pairs of slices times cases: about a second

/**
 * Return the slices of two audits in pairs, best first; then those that only one has.
 * @param {any} a as `readSaved` returns it
 * @param {any} b
 * @returns {{pairs: {a: any, b: any, jaccard: number | null}[], n_shared: number}} `a` or `b` is null where there is no match
 */
export function matchSlices(a, b) {
  const [placesA, placesB] = sharedPlaces(a, b);
  const n = placesA.length;
  const byCases = n >= LEAST_SHARED && a.page.rows.length * b.page.rows.length * n <= MOST_WORK;
  const found = [];
  for (const one of a.page.rows) {
    for (const other of b.page.rows) {
      const alike = one.error_type === other.error_type && one.target === other.target && one.label === other.label;
      if (!alike) continue;
      const jaccard = byCases ? jaccardOf(strengths(a, one), placesA, strengths(b, other), placesB) : null;
      const words = one.rule !== "" && one.rule === other.rule;
      if (jaccard >= SAME || words) found.push({ a: one, b: other, jaccard, score: (jaccard ?? 0) + (words ? 1 : 0) });
    }
  }
  found.sort((p, q) => q.score - p.score || p.a.rank - q.a.rank || p.b.rank - q.b.rank);
  const [pairs, taken] = [[], new Set()];
  for (const { score: _, ...pair } of found) {
    if (taken.has(pair.a) || taken.has(pair.b)) continue;
    taken.add(pair.a).add(pair.b);
    pairs.push(pair);
  }
  pairs.sort((p, q) => p.a.rank - q.a.rank);
  const alone = (rows, name) => rows.filter((row) => !taken.has(row)).map((row) => ({ a: null, b: null, jaccard: null, [name]: row }));
  return { pairs: [...pairs, ...alone(a.page.rows, "a"), ...alone(b.page.rows, "b")], n_shared: n, byCases };
}

const strengths = ({ page: { cases } }, { id }) => cases.arrays[`member:${id}`];

/** Return the positions, in each audit, of the cases that both have. */
function sharedPlaces({ page: { cases: a } }, { page: { cases: b } }) {
  const pairs = a && b ? a.ids.map((id, i) => [i, b.position.get(id)]).filter(([, j]) => j !== undefined) : [];
  return [0, 1].map((k) => Int32Array.from(pairs, (pair) => pair[k]));
}

/** Return the share of the members of either of two slices that are members of both, among the shared cases. */
export function jaccardOf(one, placesA, other, placesB) {
  let [both, either] = [0, 0];
  for (let k = 0; k < placesA.length; k += 1) {
    const [isA, isB] = [one[placesA[k]] >= MEMBER, other[placesB[k]] >= MEMBER];
    both += isA && isB;
    either += isA || isB;
  }
  return both / (either || 1);
}

/** Return the class of the widget that shows a comparison; `at.storeOf`: of an audit that is open, so that a pair is selected there too. */
export function makeComparison({ widgets }, trans, at) {
  return class Comparison extends widgets.Widget {
    constructor(left, right) {
      super();
      Object.assign(this, { left, right, chosen: null });
      this.addClass("mma-saved");
      this.node.dataset.ready = "0";
      this.node.tabIndex = -1;
      this.root = h("section", { class: "mma-root mma-compare", "aria-label": trans.__("Comparison of two audits") });
      this.node.append(this.root);
    }

    /** Read the files when they are first looked at. */
    onAfterShow() {
      if (!this.isRead) void this.read();
    }

    onAfterAttach() {
      if (this.isVisible) this.onAfterShow();
    }

    onActivateRequest() {
      (this.root.querySelector('tr[tabindex="0"]') ?? this.node).focus({ preventScroll: true });
    }

    /** Read both files again. */
    async read() {
      this.isRead = true;
      this.node.dataset.ready = "0";
      const documents = await Promise.all(
        [this.left, this.right].map(async (path) => {
          try {
            const { content } = await at.contents.get(path, { type: "file", format: "text", content: true });
            return await readSaved(content);
          } catch (error) {
            return error;
          }
        }),
      );
      await style();
      if (this.isDisposed) return;
      const hadFocus = this.root.contains(globalThis.document.activeElement);
      const problems = documents.map((one, k) => (one instanceof Error ? `${[this.left, this.right][k]}: ${one.message}` : "")).filter(Boolean);
      if (problems.length) fill(this.root, ...problems.map((words) => h("p", { class: "mma-message", "data-kind": "error", role: "alert", dir: "auto" }, words)), button(trans.__("Read again"), () => this.read()));
      else this.show(...documents);
      if (hadFocus) this.onActivateRequest();
      this.node.dataset.ready = "1";
    }

    show(a, b) {
      const { pairs, n_shared: n, byCases } = matchSlices(a, b);
      const [paths, documents] = [[this.left, this.right], [a, b]];
      const nameOf = (k, row) => documents[k].user_edits?.names?.[row.id] || row.name;
      const verdictOf = (k, row) => {
        const code = documents[k].user_verdicts?.slices?.[row.id]?.verdict;
        return code ? h("span", { class: "mma-chip", title: trans.__("Verdict in the file") }, `${markOf(code)} ${code}`) : null;
      };
      const rows = pairs.flatMap((pair) => [pair.a, pair.b]).filter(Boolean);
      const head = (k) =>
        h("div", { class: "mma-compare-side" }, h("h2", { dir: "auto" }, "AB"[k], " · ", button(paths[k], () => at.open(paths[k]), { title: trans.__("Open this audit") })), h("p", { dir: "auto" }, documents[k].summary.headline));
      const how = ({ a: one, b: other, jaccard }) => {
        if (!one || !other) return trans.__("only in %1", one ? "A" : "B");
        if (jaccard === null) return trans.__("same rule");
        return trans.__("overlap %1", `${Math.round(100 * jaccard)} %`);
      };
      const side = (k, row) => (row ? [h("strong", { dir: "auto" }, nameOf(k, row)), " ", h("span", { class: "mma-chip" }, row.words.standing), verdictOf(k, row), h("div", { class: "mma-quiet" }, row.words.kind)] : ["–"]);
      const gap = (row) => (row ? [gapBar(row, rows), row.words.gap] : ["–"]);
      const changes = ({ a: one, b: other }) => (one?.gap != null && other?.gap != null ? signed(100 * (other.gap - one.gap)) : "–");
      const body = h("tbody");
      const cards = h("div", { class: "mma-compare-cards" });
      const said = h("p", { class: "mma-unseen", role: "status" });
      const trs = pairs.map((pair, k) => {
        const cells = [side(0, pair.a), gap(pair.a), gap(pair.b), side(1, pair.b), [changes(pair)], [how(pair)]];
        const tr = h("tr", { tabindex: k ? -1 : 0, "aria-selected": "false", "data-match": pair.a && pair.b ? "both" : pair.a ? "a" : "b" }, ...cells.map((inside, c) => h("td", { class: c === 2 || c === 1 ? "mma-col-gap" : null, "data-kind": (c === 2 || c === 3 ? pair.b : pair.a)?.error_type }, ...inside)));
        tr.addEventListener("click", () => choose(k));
        return tr;
      });
      const choose = (k) => {
        trs.forEach((tr, i) => {
          tr.tabIndex = i === k ? 0 : -1;
          tr.setAttribute("aria-selected", String(i === k));
        });
        trs[k].focus({ preventScroll: true });
        trs[k].scrollIntoView({ block: "nearest" });
        const chosen = [pairs[k].a, pairs[k].b];
        fill(cards, ...chosen.map((row, i) => h("div", { class: "mma-compare-side mma-slice-card" }, h("h3", { dir: "auto" }, `${"AB"[i]} · ${row ? nameOf(i, row) : trans.__("no such slice")}`), ...(row ? cardContent(documents[i].page.cards[row.id]) : []))));
        said.textContent = chosen.map((row, i) => `${"AB"[i]}: ${row ? nameOf(i, row) : trans.__("no such slice")}`).join("; ");
        chosen.forEach((row, i) => row && at.storeOf(paths[i])?.change(trans.__("Slice %1", row.id), { selected_slice: row.id }));
      };
      body.append(...trs);
      body.addEventListener("keydown", (event) => {
        const now = trs.indexOf(event.target.closest("tr"));
        const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: trs.length - 1, Enter: now, " ": now }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        choose(Math.max(0, Math.min(to, trs.length - 1)));
      });
      const columns = [trans.__("Slice in A"), trans.__("Gap in A, points"), trans.__("Gap in B, points"), trans.__("Slice in B"), trans.__("B minus A"), trans.__("Match")];
      const matched = pairs.filter((pair) => pair.a && pair.b).length;
      const by = byCases ? trans.__("Slices match where half of the cases that are in either are in both, among the %1 that both audits have, or where their rules are the same.", n.toLocaleString("en")) : trans.__("The audits have %1 cases in common, which are too few or too many to match slices by them: they match where their rules are the same.", n.toLocaleString("en"));
      fill(
        this.root,
        h("div", { class: "mma-compare-cards" }, head(0), head(1)),
        h("p", {}, trans.__("%1 slices match; %2 only in A, %3 only in B.", matched, pairs.filter((pair) => pair.a && !pair.b).length, pairs.filter((pair) => !pair.a).length), " ", h("span", { class: "mma-quiet" }, by, " ", trans.__("Differences are not tested: two models on the same cases are compared with result.compare(…), paired by patient."))),
        h("div", { class: "mma-bar" }, button(trans.__("Open both"), async () => { at.open(paths[0]); at.open(paths[1]); }), button(trans.__("Read again"), () => this.read())),
        h("div", { class: "mma-table" }, h("div", { class: "mma-scroll" }, h("table", { role: "grid", "aria-label": trans.__("Slices of both audits") }, h("thead", {}, h("tr", {}, ...columns.map((words) => h("th", { scope: "col" }, words)))), body)), said, cards),
        pairs.length ? null : h("p", { class: "mma-message" }, trans.__("Neither audit has a slice.")),
      );
      if (pairs.length) fill(cards, h("p", { class: "mma-quiet" }, trans.__("Choose a row to see both cards.")));
    }
  };
}

const signed = (points) => `${points >= 0 ? "+" : "−"}${Math.abs(points).toFixed(0)}`;
