// The dialog in which the columns of a table get their roles. It asks a kernel, shows what it guessed and why, checks each
// change, and ends when the notebook is written. Examples of the table's values are shown here and kept nowhere.

import { afterPause, button, fill, h, newId } from "../shared/dom.js";

const SEVERAL = new Set(["label", "proba", "metadata"]);
const BOTH = "image,sample_id"; // one column can be the name of the image and of the sample
const MOST = 50; // rows of a list that are shown at once

/** Return the roles as [key, words], in the order in which their columns are listed. */
function roleWords(trans) {
  return [
    ["label", trans.__("Label")],
    ["proba", trans.__("Probability")],
    ["patient_id", trans.__("Patient")],
    ["sample_id", trans.__("Sample id")],
    ["image", trans.__("Image")],
    [BOTH, trans.__("Image and sample id")],
    ["report", trans.__("Report")],
    ["metadata", trans.__("Metadata")],
    ["", trans.__("not used")],
  ];
}

/** Keep a name of any script from turning the words around it. */
const isolated = (name) => `\u2068${name}\u2069`;
const bdi = (text) => h("bdi", { dir: "auto" }, text);

/** The roles of the columns by position: those guessed, and those chosen since. */
export class Roles {
  /** @param {{columns: any[], suggestion: Record<string, any>}} table as Python answers */
  constructor({ columns, suggestion }) {
    this.columns = columns;
    const given = new Map();
    for (const role of ["label", "proba", "patient_id", "image", "sample_id", "report", "metadata"]) {
      for (const name of [suggestion[role] ?? []].flat()) given.set(name, given.get(name) === "image" && role === "sample_id" ? BOTH : given.get(name) ?? role);
    }
    this.guessed = columns.map(({ name }) => given.get(name) ?? "");
    this.suggestion = suggestion;
    this.reset();
  }

  /** Go back to what was guessed. */
  reset() {
    this.now = [...this.guessed];
    this.positive = this.suggestion.positive ?? [];
    this.imageRoot = this.suggestion.image_root ?? "";
    this.threshold = this.suggestion.threshold ?? null;
  }

  /** Give a column a role, and take it from the column that had it where only one can; return the columns that changed. */
  set(k, role) {
    const before = this.now;
    const labels = this.with("label");
    const taken = role.split(",").filter((part) => !SEVERAL.has(part));
    const left = (had) => had.split(",").filter((part) => !taken.includes(part));
    this.now = before.map((had, i) => (i === k ? role : left(had).join()));
    if (this.with("label").join() !== labels.join()) this.positive = this.#guessedLabel() ? this.suggestion.positive ?? [] : [];
    return this.now.flatMap((had, i) => (had === before[i] ? [] : [i]));
  }

  /** Return the positions of the columns that have a role. */
  with(role) {
    return this.now.flatMap((had, k) => (had.split(",").includes(role) ? [k] : []));
  }

  #guessedLabel() {
    return this.with("label").every((k) => this.guessed[k] === "label");
  }

  /** Return the values of which some count as 1, as [[text, count], ...]: where there is one label that is not 0 or 1 already, nor a class. */
  get choices() {
    const [only, ...others] = this.with("label");
    const { type, values } = this.columns[only] ?? {};
    const plain = type === "boolean" || values?.every(([text]) => /^[01](\.0)?$/.test(text));
    return others.length || plain || this.with("proba").length > 2 ? [] : values ?? [];
  }

  /** Return the roles as Python takes them. */
  toQuestion() {
    const named = (role) => {
      const names = this.with(role).map((k) => this.columns[k].name);
      const first = [this.suggestion[role] ?? []].flat().filter((name) => names.includes(name)); // the order may say what belongs together
      return [...first, ...names.filter((name) => !first.includes(name))];
    };
    const one = (role) => named(role)[0] ?? null;
    const image = one("image");
    return {
      label: named("label"),
      positive: this.choices.length && this.positive.length ? this.positive : null,
      proba: named("proba"),
      patient_id: one("patient_id"),
      sample_id: one("sample_id"),
      image,
      image_root: (image !== null && this.imageRoot) || null,
      report: one("report"),
      metadata: named("metadata"),
      threshold: this.threshold,
    };
  }
}

/**
 * Ask for the roles; resolve to the notebook that was written, or to null.
 * @param {{name: string, kernels: {name: string, title: string}[], start: (kernel: string) => any, trans: any}} given
 *   the table's file name, the Python kernels, what starts one of them (see kernel.js), words
 * @returns {Promise<{path: string, kernel: string, run: boolean} | null>}
 */
export function askRoles(given) {
  return new Promise((resolve) => new RolesDialog(given, resolve));
}

class RolesDialog {
  constructor({ name, kernels, start, trans }, resolve) {
    Object.assign(this, { name, start, trans, resolve, words: new Map(roleWords(trans)), kernelName: kernels[0]?.name });
    const title = newId();
    this.body = h("div", { class: "mma-lab-body" });
    this.said = h("div", { class: "mma-lab-said", role: "status", id: newId() });
    this.makers = [
      button(trans.__("Make notebook only"), () => this.make(false)),
      button(trans.__("Make notebook and run it"), () => this.make(true), { class: "mma-button mma-lab-primary" }),
    ];
    this.heading = h("h2", { id: title, tabindex: "-1" }, trans.__("Audit %1", isolated(name)));
    this.el = h(
      "dialog",
      { class: "mma-root mma-lab-dialog", "aria-labelledby": title, "data-lm-suppress-shortcuts": "true", onclose: () => this.end(null) },
      h("header", {}, this.heading, kernels.length > 1 ? this.kernelSelect(kernels) : null),
      this.body,
      this.said,
      h("footer", {}, button(trans.__("Cancel"), () => this.el.close()), h("span", { class: "mma-lab-gap" }), ...this.makers),
    );
    document.body.append(this.el);
    this.el.showModal();
    this.heading.focus();
    this.checkSoon = afterPause(() => this.check(), 400);
    if (kernels.length) this.read();
    else this.fail(trans.__("There is no Python kernel. Run “pip install ipykernel mmaudit” in the environment of Jupyter, then reload this page."));
  }

  kernelSelect(kernels) {
    const select = h("select", { class: "mma-select" }, ...kernels.map(({ name, title }) => h("option", { value: name }, title)));
    select.addEventListener("change", () => {
      this.kernelName = select.value;
      this.read();
    });
    return h("label", {}, this.trans.__("Python: "), select);
  }

  /** End once: with the notebook, or with null where the dialog was closed before. */
  end(made) {
    this.checkSoon.cancel();
    this.asked?.abort();
    this.kernel?.dispose();
    this.el.remove();
    this.resolve(made);
  }

  // --- Reading -------------------------------------------------------------------------------------------------------

  /** Start a kernel and let it read the table. */
  async read() {
    this.checkSoon.cancel();
    this.asked?.abort();
    this.asked = this.passed = this.roles = null;
    this.kernel?.dispose();
    const kernel = (this.kernel = this.start(this.kernelName));
    const bar = h("progress", { class: "mma-progress", "aria-label": this.trans.__("Progress") });
    const text = h("p", { role: "status" }, this.trans.__("Reading %1 …", isolated(this.name)));
    fill(this.body, text, bar);
    fill(this.said);
    this.makeable();
    try {
      const table = await kernel.ask({ ask: "table", path: this.name }, { onProgress: (progress) => moved(bar, text, progress) });
      if (kernel === this.kernel) this.show(table);
    } catch (error) {
      if (kernel === this.kernel) this.fail(error.message);
    }
  }

  fail(message) {
    const again = this.kernelName ? button(this.trans.__("Try again"), () => this.read()) : null;
    fill(this.body, h("p", { class: "mma-message", "data-kind": "error", role: "alert" }, `✕ ${message}`), again);
    this.makeable();
  }

  // --- The table ------------------------------------------------------------------------------------------------------

  show(table) {
    const { trans } = this;
    this.roles = new Roles(table);
    this.rows = new Map();
    const { columns, n_rows: n, n_bytes: bytes, notes = [] } = table;
    const size = trans._n("%1 row", "%1 rows", n, n.toLocaleString());
    const wide = trans._n("%1 column", "%1 columns", columns.length);
    this.back = button(trans.__("Use all guesses again"), () => this.reset());
    this.used = new List(this, this.byRole(), trans.__("Columns that are used"));
    this.unused = new List(this, this.roles.with(""), trans.__("Columns that are not used"));
    this.unusedWords = h("summary");
    this.positives = h("div");
    this.root = h("input", { class: "mma-input", type: "text", dir: "auto", spellcheck: "false" });
    this.root.addEventListener("input", () => this.changed({ imageRoot: this.root.value.trim() }));
    this.rootFound = h("span", { class: "mma-quiet" });
    this.rootField = h("p", { "data-field": "image_root" }, h("label", {}, trans.__("Folder of the images: "), this.root), " ", this.rootFound);
    this.threshold = h("input", { class: "mma-input", type: "number", min: 0, max: 1, step: "any", placeholder: "0.5" });
    this.threshold.addEventListener("input", () => this.changed({ threshold: this.threshold.value === "" ? null : Number(this.threshold.value) }));
    this.more = h("details", {}, h("summary", {}, trans.__("More")), h("p", { "data-field": "threshold" }, h("label", {}, trans.__("Threshold, from 0 to 1, from which a probability counts as 1: "), this.threshold)));
    this.pairs = h("div");
    fill(
      this.body,
      h("p", { class: "mma-lab-size" }, h("span", {}, bytes ? `${size}, ${wide}, ${sizeWords(bytes)}` : `${size}, ${wide}`), h("span", { class: "mma-lab-gap" }), this.back),
      ...notes.map((note) => h("p", { class: "mma-quiet" }, note)),
      this.used.el,
      this.positives,
      this.pairs,
      this.rootField,
      h("details", { hidden: !this.unused.of.length, ontoggle: ({ target }) => target.open && target.scrollIntoView({ block: "start" }) }, this.unusedWords, this.searchField(), this.unused.el),
      this.more,
    );
    this.showFields();
    this.changed({});
    if (!this.el.contains(document.activeElement) || document.activeElement === this.el) this.heading.focus();
  }

  byRole() {
    return [...new Set([...this.words.keys()].flatMap((role) => (role ? this.roles.with(role) : [])))];
  }

  searchField() {
    const search = h("input", { class: "mma-input", type: "search", dir: "auto", "aria-label": this.trans.__("Search the columns that are not used"), placeholder: this.trans.__("search") });
    search.addEventListener("input", () => this.unused.search(search.value));
    // Escape empties the field, and only an empty one lets it close the dialog.
    search.addEventListener("keydown", (event) => event.key === "Escape" && search.value && (event.preventDefault(), (search.value = ""), this.unused.search("")));
    return h("p", {}, search);
  }

  /** Return the row of a column, made when it is first shown. */
  row(k) {
    if (this.rows.has(k)) return this.rows.get(k).el;
    const { name, type, n_missing: missing, examples = [] } = this.roles.columns[k];
    const why = h("td", { id: newId(), class: "mma-lab-why" });
    const options = [...this.words].map(([value, words]) => h("option", { value }, words));
    const select = h("select", { class: "mma-select", "aria-label": this.trans.__("Role of %1", name), "aria-describedby": why.id }, ...options);
    select.addEventListener("change", () => this.choose(k, select.value));
    const kind = missing ? this.trans.__("%1, %2 missing", this.typeWords(type), missing.toLocaleString()) : this.typeWords(type);
    const shown = examples.map((text) => h("bdi", { dir: "auto", class: "mma-lab-example" }, text));
    const el = h("tr", {}, h("th", { scope: "row", title: name }, bdi(name)), h("td", {}, kind), h("td", { class: "mma-lab-examples" }, ...shown), h("td", {}, select), why);
    this.rows.set(k, { el, select, why });
    this.refresh(k);
    return el;
  }

  typeWords(type) {
    const { trans } = this;
    return { number: trans.__("number"), text: trans.__("text"), date: trans.__("date"), boolean: trans.__("yes/no"), empty: trans.__("empty") }[type] ?? type;
  }

  /** Show the role of a column and why it has it. */
  refresh(k) {
    const row = this.rows.get(k);
    if (!row) return;
    const { trans } = this;
    const { reason, confidence } = this.roles.columns[k];
    const role = this.roles.now[k];
    row.select.value = role;
    if (role === this.roles.guessed[k]) {
      const sure = { sure: trans.__("sure"), likely: trans.__("likely"), guess: trans.__("a guess") }[confidence];
      fill(row.why, role && sure ? h("span", { class: "mma-chip" }, sure) : null, reason ? ` ${reason}` : "");
      return;
    }
    const undo = button(trans.__("↺ Use the guess again"), () => {
      row.select.focus();
      this.choose(k, this.roles.guessed[k]);
    });
    fill(row.why, trans.__("chosen by you"), " ", undo);
  }

  choose(k, role) {
    for (const changed of this.roles.set(k, role)) {
      this.refresh(changed);
      if (this.roles.now[changed] && this.unused.of.includes(changed)) this.moveUp(changed);
    }
    this.showFields();
    this.changed({});
  }

  /** List a column among those used. One that is no longer used stays where it is, to be found again. */
  moveUp(k) {
    this.unused.remove(k);
    this.used.add(k);
    const { el, select } = this.rows.get(k);
    select.focus();
    el.scrollIntoView({ block: "nearest" });
  }

  reset() {
    this.roles.reset();
    for (const k of this.rows.keys()) this.refresh(k);
    this.heading.focus();
    this.showFields();
    this.changed({});
  }

  /** Show the fields that these roles need. */
  showFields() {
    const { trans, roles } = this;
    fill(this.unusedWords, trans.__("Not used (%1)", this.unused.of.length.toLocaleString()));
    const { choices } = roles;
    const boxes = choices.map(([text, count]) => {
      const box = h("input", { type: "checkbox", checked: roles.positive.includes(text) });
      box.addEventListener("change", () => this.changed({ positive: choices.flatMap(([one]) => ((one === text ? box.checked : roles.positive.includes(one)) ? [one] : [])) }));
      return h("label", {}, box, " ", bdi(text), h("span", { class: "mma-quiet" }, ` ${count.toLocaleString()}`));
    });
    const legend = h("legend", {}, trans.__("Counts as 1: values of %1", isolated(roles.columns[roles.with("label")[0]]?.name)));
    fill(this.positives, boxes.length ? h("fieldset", { "data-field": "positive" }, legend, h("div", { class: "mma-lab-boxes" }, ...boxes)) : null);
    this.rootField.hidden = !roles.with("image").length;
    this.root.value = roles.imageRoot;
    this.threshold.value = roles.threshold ?? "";
    this.more.open ||= roles.threshold !== null;
  }

  // --- Checking and making ---------------------------------------------------------------------------------------------

  /** Something was chosen: what was checked before says nothing of it. */
  changed(choice) {
    Object.assign(this.roles, choice);
    const { now, guessed } = this.roles;
    this.back.hidden = now.every((role, k) => role === guessed[k]);
    this.passed = null;
    this.asked?.abort(); // the last question wins
    this.mark(null);
    fill(this.said, this.trans.__("Checking …"));
    this.makeable();
    this.checkSoon();
  }

  async check() {
    const asked = (this.asked = new AbortController());
    const roles = this.roles.toQuestion();
    const bar = h("progress", { class: "mma-progress", "aria-label": this.trans.__("Progress"), hidden: true });
    const text = h("span", {}, this.trans.__("Checking …"));
    fill(this.said, text, " ", bar);
    const onProgress = (progress) => asked === this.asked && moved(bar, text, progress);
    try {
      if (!this.threshold.validity.valid) throw new Error(this.trans.__("Threshold: expected a number from 0 to 1. Mend it, or leave it empty."));
      const found = await this.ask({ ask: "check", path: this.name, roles }, { signal: asked.signal, onProgress });
      if (asked !== this.asked || asked.signal.aborted) return;
      this.passed = roles;
      this.tell(found);
    } catch (error) {
      if (asked !== this.asked || asked.signal.aborted) return;
      this.wrong(error.message, button(this.trans.__("Check again"), () => this.changed({})));
    }
    this.makeable();
  }

  /** Ask the kernel, a new one where it ended: what was chosen here is still here. */
  ask(question, options) {
    if (this.kernel.ended) {
      void this.kernel.dispose(); // the server may have started it again
      this.kernel = this.start(this.kernelName);
    }
    return this.kernel.ask(question, options);
  }

  /** Say what the check found. */
  tell({ summary = [], warnings = [], pairs = [], image_root: root }) {
    const { trans } = this;
    this.rootFound.textContent = !root ? "" : root === this.roles.imageRoot ? trans.__("✓ found") : trans.__("found in %1", isolated(root));
    const paired = pairs.map(([label, proba]) => h("li", {}, bdi(label), " ← ", bdi(proba)));
    fill(this.pairs, pairs.length > 1 ? h("section", {}, h("strong", {}, trans.__("Each label and its probability")), h("ul", { class: "mma-lab-pairs" }, ...paired)) : null);
    fill(this.said, ...summary.map((line, k) => h("p", {}, k ? line : `✓ ${line}`)), ...warnings.map((line) => h("p", { class: "mma-lab-warning" }, `▲ ${line}`)));
  }

  /** Say what is wrong, and mark the field that the message begins with. */
  wrong(message, next) {
    fill(this.said, h("p", { class: "mma-message", "data-kind": "error" }, `✕ ${message} `, next));
    this.mark(message);
  }

  mark(message) {
    for (const el of this.body.querySelectorAll(".mma-lab-error")) el.remove();
    for (const el of this.body.querySelectorAll("[aria-invalid]")) el.removeAttribute("aria-invalid");
    if (!message) return;
    const field = message.split(":")[0].toLowerCase();
    const role = [...this.words].find(([key, words]) => key && words.toLowerCase() === field)?.[0];
    const at = role ? this.rows.get(this.roles.with(role)[0])?.why : this.body.querySelector(`[data-field="${CSS.escape(FIELDS[field] ?? field)}"]`);
    if (!at || at.hidden) return;
    at.prepend(h("span", { class: "mma-lab-error" }, `✕ ${message} `));
    at.closest("details")?.setAttribute("open", "");
    for (const input of (role ? at.parentNode : at).querySelectorAll("select, input")) input.setAttribute("aria-invalid", "true");
    at.scrollIntoView({ block: "nearest" });
  }

  /** Let the notebook be made where exactly these roles were checked; say why not elsewhere. */
  makeable() {
    const ready = Boolean(this.passed) && !this.making;
    for (const el of this.makers) {
      el.setAttribute("aria-disabled", String(!ready));
      el.title = ready ? "" : this.trans.__("The table and the roles must have passed the check");
    }
  }

  async make(run) {
    if (!this.passed || this.making) return;
    const { kernelName: kernel } = this;
    this.making = this.body.inert = true;
    this.makeable();
    try {
      fill(this.said, this.trans.__("Writing the notebook …"));
      const { path } = await this.ask({ ask: "notebook", path: this.name, roles: this.passed });
      this.resolve({ path, kernel, run });
      this.el.close();
    } catch (error) {
      this.making = this.body.inert = false;
      this.wrong(error.message);
      this.makeable();
    }
  }
}

/** What Python calls the fields below the table. */
const FIELDS = { "folder of the images": "image_root", "counts as 1": "positive" };

/** A table of columns of which the first ones are in the page. */
class List {
  constructor(dialog, of, caption) {
    const { trans } = (this.dialog = dialog);
    this.of = of;
    this.shown = MOST;
    this.sought = "";
    this.rows = h("tbody");
    this.further = button("", () => ((this.shown += 4 * MOST), this.fill()));
    const heads = [trans.__("Column"), trans.__("Type"), trans.__("Examples"), trans.__("Role"), trans.__("Why")];
    const head = h("thead", {}, h("tr", {}, ...heads.map((words) => h("th", { scope: "col" }, words))));
    this.el = h("div", {}, h("table", { class: "mma-lab-columns" }, h("caption", { class: "mma-unseen" }, caption), head, this.rows), this.further);
    this.fill();
  }

  fill() {
    const { columns } = this.dialog.roles;
    const found = this.of.filter((k) => columns[k].name.toLowerCase().includes(this.sought));
    fill(this.rows, ...found.slice(0, this.shown).map((k) => this.dialog.row(k)));
    const left = found.length - this.shown;
    this.further.hidden = left <= 0;
    this.further.textContent = this.dialog.trans._n("%1 more column", "%1 more columns", left, left.toLocaleString());
  }

  search(text) {
    this.sought = text.trim().toLowerCase();
    this.shown = MOST;
    this.fill();
  }

  add(k) {
    this.of.push(k);
    this.rows.append(this.dialog.row(k));
  }

  remove(k) {
    this.of = this.of.filter((other) => other !== k);
    this.fill();
  }
}

function moved(bar, words, { done, total, text }) {
  bar.hidden = false;
  if (total) Object.assign(bar, { max: total, value: done });
  if (text) words.textContent = text;
}

function sizeWords(bytes) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** power).toLocaleString(undefined, { maximumFractionDigits: power ? 1 : 0 })} ${["B", "kB", "MB", "GB"][power]}`;
}
