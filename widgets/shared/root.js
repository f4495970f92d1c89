// How a widget begins and ends: one store for each model, one root element for each view.

import { h } from "./dom.js";
import { Store, hostOf } from "./store.js";

/**
 * Return the definition of a widget.
 * @param {(el: HTMLElement, store: any) => (() => void)} mount fills a view, and returns what ends it
 * @param {{name: string, local?: Record<string, any>}} how `name`: what the widget is called when it is read aloud
 */
export function widget(mount, { name, local = {} }) {
  return () => {
    let store = null;
    return {
      initialize({ model }) {
        store = new Store(hostOf(model), local);
        store.readNotes();
        return () => store.dispose();
      },
      render({ el }) {
        return mountRoot(el, store, mount, name);
      },
    };
  };
}

/** Put a view into an element: its root, the live region, and the key that undoes. `inCell`: whether in a notebook. */
export function mountRoot(el, store, mount, name, { inCell = true } = {}) {
  const said = h("div", { class: "mma-unseen", role: "status", "aria-live": "polite" });
  const body = h("div", { class: "mma-body" });
  // JupyterLab leaves the keys alone below an element with this attribute, but for those keys that are for whatever has
  // the focus, such as D twice to delete a cell: so that what has it gets the attribute, too.
  const root = h("section", { class: "mma-root", "aria-label": name, "data-lm-suppress-shortcuts": inCell && "true" }, body, said);
  if (inCell) root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  root.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
      event.preventDefault();
      store.undo();
    }
    // In JupyterLab, Enter in a field does not send its form.
    if (event.key === "Enter" && !event.isComposing && !event.defaultPrevented && event.target.matches("form input:not([type=checkbox])")) {
      event.preventDefault();
      event.target.form.requestSubmit();
    }
  });
  el.append(root);
  const stop = store.on("said", () => (said.textContent = store.get("said")));
  const end = mount(body, store);
  return () => {
    stop();
    end?.();
    root.remove();
  };
}
