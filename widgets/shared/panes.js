// The explorer: the other parts beside each other.

import { h } from "./dom.js";
import { mountTable } from "./slices.js";
import { mountGrid } from "./tiles.js";

/** Show all parts; return what ends them. */
export function mountExplorer(el, store) {
  const [left, right] = [h("div"), h("div")];
  el.append(left, right);
  const ends = [mountTable(left, store), mountGrid(right, store)];
  return () => ends.forEach((end) => end());
}
