// The grid of images.

import { h } from "./dom.js";

/** Show the images; return what ends it. */
export function mountGrid(el, store) {
  const told = h("p", {}, "…");
  el.append(told);
  store.cases().then((cases) => (told.textContent = `${cases.n} cases`));
  return () => undefined;
}
