// ExplanationTable: the slices of an audit, ranked.

import { widget } from "./shared/root.js";
import { mountTable } from "./shared/slices.js";

export default widget(mountTable, { name: "Slices of the audit" });
