// A saved audit as what is behind a store: it is read from a file that anybody may have written, so every value is checked
// before a part sees it; it answers what a kernel would answer; and of what people do, verdicts, notes and names are kept.

import { Cases, unpack } from "../shared/cases.js";
import { MISSING, valueWords } from "../shared/filters.js";
import { VERDICTS } from "../shared/verdicts.js";

const KIND = "mmaudit.AuditResult";
const SCHEMA = 2;
const [MOST_CHARACTERS, MOST_SLICES, MOST_CASES, MOST_BYTES, MOST_NAME, MOST_NOTE] = [150e6, 5000, 100_000, 2 ** 28, 200, 10_000];
const MOST_SIDE_PX = 1024; // of a small picture: a larger one may be small in the file and huge in memory
const BYTES = { uint8: 1, int8: 1, uint16: 2, float32: 4 };
const FIRST_TABLE = { sort: "rank", ascending: true, text: "", kinds: [], confirmed: false, hidden: false };
const FIRST_GRID = { show: "members", tile_px: 96, beside: "", model: 0, models: false };
const EMPTY = new DataView(new ArrayBuffer(0));

// Shapes: a function says whether a value fits; a list holds values of one shape; an object has these keys, and others.
const text = (value) => typeof value === "string";
const flag = (value) => typeof value === "boolean";
const number = (value) => value === null || Number.isFinite(value);
const count = (value) => Number.isInteger(value) && value >= 0;
const some = (shape) => (value) => value === null || value === undefined || fits(value, shape);
const each = (shape) => (value) => isPlain(value) && Object.values(value).every((one) => fits(one, shape));
const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const TERM = { text, category: text, status: text, said: text };
const ROW = {
  id: text, name: text, sentence: text, rule: text, error_type: text, error_name: text, modality: text, target: text, label: text,
  target_index: count, rank: count, n_patients: number, gap: number, ci_low: number, ci_high: number, q: number, stability: number,
  confirmed: flag, terms: [TERM], overlap: each(number), words: { about: some(text), standing: text, origin: text, kind: text, gap: text, q: text, stability: text, said: text },
};
const SAID = { text, tags: [text], words: text };
const CARD = {
  sentence: text, verdict: text, facts: [[text]], what: { sentence: some(text), parts: [{ name: text, text, holds: some(flag), standing: text, numbers: text }] },
  reason: some(text), terms: [SAID], absent: [SAID], traits: [text], left_out: text, leakage: text, triage: some(text), tested: [text], limits: [text],
};
const CASES = {
  n: count, ids: [text], targets: [text], models: [text], block: text,
  columns: [{ name: text, kind: text, categories: [text] }], sections: [{ name: text, dtype: text, offset: count, length: count }],
};
const VERDICT = { verdict: (code) => code === "" || VERDICTS.some((one) => one.code === code), note: (note) => text(note) && note.length <= MOST_NOTE };
const DOCUMENT = {
  summary: { title: text, headline: text, detectable_sentence: text, warnings: [text], mmaudit_version: text, findings: [{ sentence: text }], quarantine: (list) => Array.isArray(list), data: isPlain },
  thumbnails: each(text),
  user_verdicts: some({ slices: some(each(VERDICT)), samples: some(each(VERDICT)) }),
  user_edits: some({ names: some(each(text)), hidden: some([text]) }),
  page: { rows: [ROW], cards: each(CARD), cases: some(CASES) },
};

/** Return whether a value has a shape. */
export function fits(value, shape) {
  if (typeof shape === "function") return shape(value);
  if (Array.isArray(shape)) return Array.isArray(value) && value.every((one) => fits(one, shape[0]));
  return isPlain(value) && Object.entries(shape).every(([key, inside]) => Object.hasOwn(value, key) ? fits(value[key], inside) : fits(undefined, inside));
}

/** A file that cannot be shown; its words say what was expected, what it is, and what to do. */
export class UnreadableAudit extends Error {}

/**
 * Return what is in a saved audit.
 * @param {string} content of the file
 * @returns {Promise<any>} the document, checked; `page.cases.arrays`: what its block holds, `position`: places of ids
 * @throws {UnreadableAudit}
 */
export async function readSaved(content) {
  const refuse = (expected, got, action) => {
    throw new UnreadableAudit(`Expected ${expected}, got ${got}. ${action}`);
  };
  const damaged = (where) => refuse("a whole saved audit", `a damaged file (${where})`, "Save the audit again: result.save(...).");
  if (content.length > MOST_CHARACTERS) refuse("a saved audit", `a file of ${Math.round(content.length / 1e6)} MB`, "Open it in a notebook: mmaudit.load_result(...).");
  let document;
  try {
    document = JSON.parse(content);
  } catch (error) {
    damaged(`no JSON: ${String(error.message).slice(0, 120)}`);
  }
  if (!isPlain(document) || document.kind !== KIND) refuse("a saved audit", "a file of another kind", "Open the file that result.save(...) wrote.");
  if (document.schema !== SCHEMA) {
    const older = document.schema < SCHEMA;
    refuse(`a file of version ${SCHEMA}`, older ? "an older one" : "another version", older ? "Run the audit again." : "Install a later mmaudit.");
  }
  if (!("page" in document)) refuse("a file that can be shown without a kernel", "one of an earlier mmaudit", "Load it and save it again: mmaudit.load_result(path).save(path).");
  const part = Object.keys(DOCUMENT).find((key) => !fits(document[key], DOCUMENT[key]));
  if (part) damaged(part);

  const { rows, cards, cases } = document.page;
  const ids = new Set(rows.map(({ id }) => id));
  // A name such as "constructor" is found in every object.
  if (ids.size < rows.length || rows.length > MOST_SLICES || rows.some(({ id }) => id in {} || !Object.hasOwn(cards, id))) damaged("slices");
  if (cases) {
    const problem = await problemOf(cases, rows);
    if (problem) damaged(problem);
    if (Object.keys(document.user_verdicts?.samples ?? {}).some((id) => !cases.position.has(id))) damaged("user_verdicts");
  }
  if (Object.keys(document.user_verdicts?.slices ?? {}).some((id) => !ids.has(id))) damaged("user_verdicts");
  return document;
}

/** Return what is wrong with the cases, or ""; adds their arrays, in the place of the block, and their positions by id. */
async function problemOf(cases, rows) {
  const { n, ids, targets, models, columns, sections } = cases;
  if (n > MOST_CASES || ids.length !== n || !targets.length || models.length !== 1) return "cases";
  const names = new Set(sections.map(({ name }) => name));
  const needed = [...targets.flatMap((_, t) => [`truth:${t}`, `probability:${t}:0`, `wrong:${t}:0`]), "confirmation", ...rows.map(({ id }) => `member:${id}`), ...columns.map(({ name }) => `column:${name}`)];
  if (names.size < sections.length || needed.some((name) => !names.has(name)) || rows.some((row) => row.target_index >= targets.length)) return "cases";
  const fit = ({ dtype, offset, length }) => Object.hasOwn(BYTES, dtype) && length === n && offset % BYTES[dtype] === 0 && offset + length * BYTES[dtype] <= MOST_BYTES;
  if (!sections.every(fit)) return "cases";
  cases.position = new Map(ids.map((id, i) => [id, i]));
  if (cases.position.size < n) return "cases";
  try {
    const arrays = await unpack(bytesOf(cases.block), sections);
    const known = columns.every(({ name, categories }) => arrays[`column:${name}`].every((code) => code === MISSING || code < categories.length));
    if (!known || !targets.every((_, t) => arrays[`truth:${t}`].every((truth) => truth >= -1 && truth <= 1))) return "values of cases";
    cases.arrays = arrays;
    delete cases.block;
  } catch {
    return "cases";
  }
  return "";
}

function bytesOf(base64) {
  const letters = atob(base64);
  return Uint8Array.from({ length: letters.length }, (_, k) => letters.charCodeAt(k));
}

/** Return the longer side of a JPEG, in pixels, as its header says; 0 of anything else. */
function sideOf(bytes) {
  const word = (at) => bytes[at] * 256 + bytes[at + 1];
  if (word(0) !== 0xffd8) return 0;
  for (let at = 2; bytes[at] === 0xff; at += 2 + word(at + 2)) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return Math.max(word(at + 5), word(at + 7));
  }
  return 0;
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Return a host for the store, and what of the file changes with what people do.
 * @param {any} document as `readSaved` returns it
 * @param {(changed: {user_verdicts: any, user_edits: any}) => void} onEdit called after a verdict, a note, a name, or a slice was hidden
 */
export function hostOfSaved(document, onEdit) {
  const { rows, cards, cases } = document.page;
  const { slices = {}, samples = {} } = document.user_verdicts ?? {};
  const codes = (said) => Object.fromEntries(Object.entries(said).filter(([, { verdict }]) => verdict).map(([key, { verdict }]) => [key, verdict]));
  const byPosition = cases ? Object.fromEntries(Object.entries(samples).map(([id, said]) => [cases.position.get(id), said])) : {};
  const noted = (part, said) => Object.entries(said).filter(([, { note }]) => note).map(([key, { note }]) => [`${part}:${key}`, note]);
  let notes = Object.fromEntries([...noted("slice", slices), ...noted("sample", byPosition)]);
  const known = new Set(rows.map(({ id }) => id));
  const names = Object.entries(document.user_edits?.names ?? {}).filter(([id, name]) => known.has(id) && name);
  const values = {
    _rows: rows,
    _cards: cards,
    _verdicts: { slices: codes(slices), samples: codes(byPosition) },
    _edits: { names: Object.fromEntries(names.map(([id, name]) => [id, name.slice(0, MOST_NAME)])), hidden: (document.user_edits?.hidden ?? []).filter((id) => known.has(id)) },
    _table: FIRST_TABLE,
    _grid: FIRST_GRID,
    _selected: EMPTY,
    _given: EMPTY,
    selected_slice: "",
  };
  const [listeners, told] = [new Map(), new Set()];
  const pictures = document.thumbnails;

  const edited = () => {
    const said = (part, of, keyOf) => {
      const keys = new Set([...Object.keys(of), ...Object.keys(notes).filter((key) => key.startsWith(`${part}:`)).map((key) => key.slice(part.length + 1))]);
      return Object.fromEntries([...keys].map((key) => [keyOf(key), { verdict: of[key] ?? "", note: notes[`${part}:${key}`] ?? "" }]));
    };
    const { slices: ofSlices, samples: ofSamples } = values._verdicts;
    const user_verdicts = { slices: said("slice", ofSlices, (id) => id), samples: cases ? said("sample", ofSamples, (i) => cases.ids[i]) : samples };
    onEdit({ user_verdicts, user_edits: values._edits });
  };

  const answers = {
    notes: () => ({ content: { notes } }),
    note({ of, text: words }) {
      const { [of]: _, ...others } = notes;
      notes = words ? { ...others, [of]: words.slice(0, MOST_NOTE) } : others;
      edited();
      return { content: {} };
    },
    thumbs({ positions }) {
      const [there, errors, parts, offsets] = [[], {}, [], [0]];
      for (const position of positions) {
        const picture = pictureOf(position);
        if (!picture) errors[position] = "no picture saved";
        else {
          there.push(position);
          parts.push(picture);
          offsets.push(offsets.at(-1) + picture.length);
        }
      }
      const all = new Uint8Array(offsets.at(-1));
      parts.forEach((picture, k) => all.set(picture, offsets[k]));
      return { content: { positions: there, offsets, errors }, buffers: [viewOf(all)] };
    },
    async film({ position }) {
      const picture = pictureOf(position);
      if (!picture) return { content: { reason: "no picture of this case was saved" } };
      const bitmap = await createImageBitmap(new Blob([picture], { type: "image/jpeg" }));
      const { width, height } = bitmap;
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      const colours = context.getImageData(0, 0, width, height).data;
      const grey = Uint8Array.from({ length: width * height }, (_, k) => colours[4 * k]);
      const packed = new Blob([grey]).stream().pipeThrough(new CompressionStream("deflate"));
      const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
      return { content: { dtype: "uint8", width, height, file_width: width, file_height: height, bit_depth: 8, small: true }, buffers: [viewOf(bytes)] };
    },
    case({ position }) {
      const metadata = cases.columns.map((column) => [column.name, valueWords(column, cases.arrays[`column:${column.name}`][position])]);
      const part = cases.arrays.confirmation[position] ? "confirmation" : "discovery";
      return { content: { sample: cases.ids[position], part, report: null, why: "A saved audit holds no reports.", spans: [], terms: false, metadata } };
    },
  };
  const pictureOf = (position) => {
    const id = cases?.ids[position];
    if (id === undefined || !Object.hasOwn(pictures, id)) return null;
    try {
      const picture = bytesOf(pictures[id]);
      const side = sideOf(picture);
      return side && side <= MOST_SIDE_PX ? picture : null;
    } catch {
      return null;
    }
  };
  const answer = async ({ id, kind, ...asked }) => {
    if (!(kind in answers)) return; // such as "ping", or "cancel" of what is answered at once
    let found;
    try {
      found = await answers[kind](asked);
    } catch (error) {
      found = { content: { error: error.message } };
    }
    for (const callback of [...told]) callback({ ...found.content, id }, found.buffers ?? []);
  };

  return {
    lacks: ["test", "search", "map", "counterexamples"],
    async cases(store) {
      if (!cases) throw new Error(`A saved audit holds its cases up to ${MOST_CASES.toLocaleString("en")}: open it in a notebook to see more than the table.`);
      const { n, targets, models, columns, arrays } = cases;
      const found = new Cases(store, { n, targets, models, has_reports: false }, arrays);
      found.asked.set("columns", Promise.resolve(columns.map((column) => ({ ...column, codes: arrays[`column:${column.name}`] }))));
      return found;
    },
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      for (const callback of [...(listeners.get(name) ?? [])]) callback();
      if (name === "_verdicts" || name === "_edits") edited();
    },
    on(name, callback) {
      if (!listeners.has(name)) listeners.set(name, new Set());
      listeners.get(name).add(callback);
      return () => listeners.get(name).delete(callback);
    },
    send(content) {
      void answer(content);
      return true;
    },
    onMessage(callback) {
      told.add(callback);
      return () => told.delete(callback);
    },
  };
}

/** Return the text of a JSON object with other values of some of its keys; every other character stays as it is. */
export function withValues(content, values) {
  let changed = content;
  for (const [key, value] of Object.entries(values)) {
    const [words, at] = [JSON.stringify(value), placeOf(changed, key)];
    if (at.end) changed = changed.slice(0, at.start) + words + changed.slice(at.end);
    else changed = `${changed.slice(0, at.start)}${at.isEmpty ? "" : ", "}${JSON.stringify(key)}: ${words}${changed.slice(at.start)}`;
  }
  return changed;
}

/** Return where the value of a key of the outermost object starts and ends, of the last one where there are several; without `end` where it could be put. */
function placeOf(content, wanted) {
  let [depth, at, key, start, found, last] = [0, 0, null, -1, null, -1];
  const endOfValue = () => {
    if (key === wanted && start >= 0) found = { start, end: last + 1 };
    [key, start] = [null, -1];
  };
  for (; at < content.length; at += 1) {
    const letter = content[at];
    if (letter <= " ") continue; // space
    if (letter === '"') {
      const end = endOfString(content, at);
      if (depth === 1 && key === null) key = JSON.parse(content.slice(at, end + 1));
      else if (depth === 1 && start < 0) start = at;
      at = end;
    } else if (letter === "," && depth === 1) {
      endOfValue();
      continue;
    } else if (letter === ":" && depth === 1) continue;
    else {
      if (depth === 1 && letter !== "}" && start < 0) start = at;
      if (letter === "{" || letter === "[") depth += 1;
      if (letter === "}" || letter === "]") depth -= 1;
      if (!depth) break;
    }
    last = at;
  }
  const isEmpty = last === content.indexOf("{");
  endOfValue();
  return found ?? { start: last + 1, isEmpty };
}

function endOfString(content, start) {
  for (let end = content.indexOf('"', start + 1); ; end = content.indexOf('"', end + 1)) {
    let slashes = 0;
    while (content[end - 1 - slashes] === "\\") slashes += 1;
    if (slashes % 2 === 0) return end;
  }
}
