// The three plugins of the extension. Each can be disabled by itself, and loads the rest of its code when it is used.

import { auditPlugin } from "./audit.js";
import { viewerPlugin } from "./viewer.js";
import { workshopPlugin } from "./workshop.js";

/** Return the plugins; `jupyter`: the modules of JupyterLab, by the names that entry.js gives them. */
export function plugins(jupyter) {
  return [viewerPlugin(jupyter), auditPlugin(jupyter), workshopPlugin(jupyter)];
}
