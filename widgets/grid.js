// SliceGrid: the images of a slice, or of any selection.

import { widget } from "./shared/root.js";
import { mountGrid } from "./shared/tiles.js";

export default widget(mountGrid, { name: "Images of a slice" });
