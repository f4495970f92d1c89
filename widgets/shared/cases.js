// What is known of every case, by its position: labels, probabilities, errors, and how strongly it belongs to a slice.

const KINDS = { uint8: Uint8Array, uint16: Uint16Array, int8: Int8Array, float32: Float32Array };
export const MEMBER = 128; // strength in 0..255 from which a case is a member; 0.5 in Python
export const UNKNOWN_PROBABILITY = 255;

/** Return the arrays of a compressed block, by name, as its sections say; no more of it is unpacked than they tell of. */
export async function unpack(block, sections) {
  const end = Math.max(0, ...sections.map(({ dtype, offset, length }) => offset + length * KINDS[dtype].BYTES_PER_ELEMENT));
  const bytes = new Uint8Array(end);
  const reader = new Blob([block]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let at = 0;
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    bytes.set(value, at); // a RangeError where there is more
    at += value.length;
  }
  if (at < end) throw new RangeError("a block is cut");
  return Object.fromEntries(sections.map(({ name, dtype, offset, length }) => [name, new KINDS[dtype](bytes.buffer, offset, length)]));
}

export class Cases {
  /**
   * @param {any} store
   * @param {any} content n, targets (names), models (names of one or two), has_reports, sections
   * @param {Record<string, any>} arrays
   */
  constructor(store, content, arrays) {
    this.store = store;
    this.n = content.n;
    this.targets = content.targets;
    this.models = content.models;
    this.hasReports = content.has_reports;
    this.arrays = arrays;
    this.asked = new Map();
  }

  static async read(store, content, block) {
    return new Cases(store, content, await unpack(block, content.sections));
  }

  /** Return labels: 1, 0, or -1 where not known. */
  truth(target) {
    return this.arrays[`truth:${target}`];
  }

  /** Return probabilities in 0..254, or 255 where there is none. */
  probability(target, model = 0) {
    return this.arrays[`probability:${target}:${model}`];
  }

  /** Return 1 where a model is wrong about a target. */
  wrong(target, model = 0) {
    return this.arrays[`wrong:${target}:${model}`];
  }

  /** Return 1 where a case belongs to the confirmation part; null where there are no parts. */
  confirmation() {
    return this.arrays.confirmation ?? null;
  }

  /** Return strengths of membership in a slice, 0..255, from MEMBER on a member. */
  async strength(sliceId) {
    const name = `member:${sliceId}`;
    if (!this.arrays[name]) {
      if (!this.asked.has(name)) {
        this.asked.set(
          name,
          this.store
            .request("members", { slice_id: sliceId })
            .then(({ content, buffers }) => unpack(buffers[0], content.sections))
            .then((found) => Object.assign(this.arrays, found))
            .finally(() => this.asked.delete(name)),
        );
      }
      await this.asked.get(name);
    }
    return this.arrays[name];
  }

  /** Return metadata columns: [{name, kind, categories, codes}], asked for once. */
  columns() {
    return this.once("columns", {}, ({ columns }, arrays) =>
      columns.map((column) => ({ ...column, codes: arrays[`column:${column.name}`] })),
    );
  }

  /** Return the map {x, y, words}, x and y in 0..65535 or undefined where there is none; asked for once. */
  map(how) {
    return this.once("map", { what: "map" }, ({ map_words: words }, { x, y }) => ({ x, y, words }), how);
  }

  once(name, payload, read, how) {
    if (!this.asked.has(name)) {
      const found = this.store
        .request("columns", payload, how)
        .then(async ({ content, buffers }) => read(content, await unpack(buffers[0], content.sections)));
      this.asked.set(name, found);
      found.catch(() => this.asked.delete(name));
    }
    return this.asked.get(name);
  }
}
