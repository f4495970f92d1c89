// SliceExplorer: slices, images, report, metadata and map beside each other.

import { widget } from "./shared/root.js";
import { mountExplorer } from "./shared/panes.js";

export default widget(mountExplorer, { name: "Slice explorer", local: { filters: [] } });
