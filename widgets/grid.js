// SliceGrid: the images of a slice, or of any selection, and the one that is read in full over them.

import { mountReader } from "./shared/reader.js";
import { widget } from "./shared/root.js";
import { mountGrid } from "./shared/tiles.js";

function mountImages(el, store) {
  const ends = [mountGrid(el, store), mountReader(el, store)];
  return () => ends.forEach((end) => end());
}

export default widget(mountImages, { name: "Images of a slice" });
