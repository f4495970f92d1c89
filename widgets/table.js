// ExplanationTable: the slices of an audit, ranked.

import { widget } from "./shared/root.js";
import { mountTable } from "./shared/slices.js";

export default widget((el, store) => mountTable(el, store, { undo: true }), { name: "Slices of the audit" });
