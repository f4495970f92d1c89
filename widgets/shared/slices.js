// The table of slices.

import { fill, h } from "./dom.js";

/** Show the slices; return what ends it. */
export function mountTable(el, store) {
  const list = h("div");
  const show = () => fill(list, ...store.get("_rows").map((row) => h("div", {}, row.name)));
  el.append(list);
  show();
  return store.on("_rows", show);
}
