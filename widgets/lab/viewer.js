// A saved audit as a document: it opens without a kernel, and what people say of slices and images goes back into the file.

import { afterPause, button, h } from "../shared/dom.js";
import { mountExplorer } from "../shared/panes.js";
import { mountRoot } from "../shared/root.js";
import { Store } from "../shared/store.js";
import { icon, join, split, style } from "./common.js";
import { makeComparison } from "./compare.js";
import { UnreadableAudit, hostOfSaved, readSaved, withValues } from "./saved.js";

const [FACTORY, FILE_TYPE, EXTENSION] = ["mmaudit", "mmaudit", ".mmaudit.json"];
const SAVE_MS = 400;
const saved = new WeakSet(); // contexts that are being saved: two savings at a time look like a conflict to JupyterLab

/** Return what a saved audit says of itself, above its slices. */
function headOf({ summary, page, thumbnails }, trans) {
  const { findings, warnings, quarantine } = summary;
  const n = Object.keys(thumbnails).length;
  const pictures = n ? trans._n("%1 small picture was saved with it: it shows a patient.", "%1 small pictures were saved with it: they show patients.", n) : trans.__("No pictures were saved with it.");
  const list = (words, items) => (items.length ? h("details", {}, h("summary", {}, words), h("ul", {}, ...items.map((item) => h("li", { dir: "auto" }, item)))) : null);
  return h(
    "header",
    { class: "mma-saved-head" },
    h("h2", { dir: "auto" }, summary.title),
    h("p", { class: "mma-lead", dir: "auto" }, summary.headline),
    findings.length ? h("ol", {}, ...findings.map(({ sentence }) => h("li", { dir: "auto" }, sentence))) : null,
    h("p", { class: "mma-quiet", dir: "auto" }, summary.detectable_sentence),
    list(trans._n("%1 warning", "%1 warnings", warnings.length), warnings),
    quarantine.length ? h("p", { class: "mma-quiet" }, trans._n("%1 image could not be read.", "%1 images could not be read.", quarantine.length)) : null,
    page.cases ? null : h("p", { class: "mma-message" }, trans.__("The file holds the slices, but no cases: there are too many. Open it in a notebook to see them.")),
    h("p", { class: "mma-quiet" }, trans.__("Made with mmaudit %1. Not for clinical use.", summary.mmaudit_version), " ", pictures, " ", trans.__("Reports and whole images are with the data.")),
  );
}

/** Return the class of the widget in the document's tab. */
function makeView({ widgets }, trans) {
  return class AuditView extends widgets.Widget {
    constructor(context) {
      super();
      this.context = context;
      this.id = `mmaudit-view-${Math.random().toString(36).slice(2)}`;
      this.addClass("mma-saved");
      this.node.tabIndex = -1;
      this.node.dataset.ready = "0";
      this.saving = afterPause(() => this.save(), SAVE_MS);
      // JupyterLab closes a tab without telling the field that has the focus.
      this.typed = afterPause((field) => field.isConnected && field.dispatchEvent(new Event("change")), SAVE_MS);
      this.node.addEventListener("input", ({ target }) => {
        if (!target.matches(".mma-note")) return;
        context.model.dirty = true;
        this.typed(target);
      });
      void context.ready.then(() => {
        if (this.isDisposed) return;
        void this.draw();
        context.model.contentChanged.connect(this.draw, this);
        context.fileChanged.connect(this.tellLock, this);
      });
    }

    /** Show the file anew, unless it is as this view has written it. */
    async draw() {
      const content = this.context.model.toString();
      if (content === this.content) return;
      this.content = content;
      this.end(); // now: what is half typed was meant for the file as it was
      this.node.dataset.ready = "0";
      const isCurrent = () => !this.isDisposed && content === this.content;
      try {
        const [document] = await Promise.all([readSaved(content), style()]);
        if (isCurrent()) this.show(document);
      } catch (error) {
        await style();
        const words = error instanceof UnreadableAudit ? error.message : trans.__("This file cannot be shown (%1). Save the audit again.", error.name);
        if (isCurrent()) this.refuse(words);
      }
      if (isCurrent()) this.node.dataset.ready = "1";
    }

    refuse(problem) {
      const open = button(trans.__("Open as text"), () => this.asText());
      const root = h("section", { class: "mma-root mma-saved-refused", role: "alert" }, h("h2", {}, trans.__("This audit cannot be shown")), h("p", { class: "mma-message", "data-kind": "error", dir: "auto" }, problem), open);
      this.node.replaceChildren(root);
      this.ends = [() => root.remove()];
    }

    show(document) {
      const host = hostOfSaved(document, (changed) => this.document === document && this.write(changed));
      const store = new Store(host, { filters: [] });
      Object.assign(this, { store, document });
      store.readNotes();
      this.told = h("p", { class: "mma-message", "data-kind": "error", role: "alert", hidden: true }, trans.__("The file is read-only: verdicts are shown, but not saved. Save it under another name."));
      const end = mountRoot(
        this.node,
        store,
        (el) => {
          el.append(headOf(document, trans), this.told);
          return mountExplorer(el, store);
        },
        trans.__("Saved audit"),
        { inCell: false },
      );
      this.ends = [end, () => store.dispose()];
    }

    /** Put what has changed into the file, and nothing else. */
    write(changed) {
      const { content: before, context: { model } } = this;
      const after = withValues(before, changed);
      let [start, end] = [0, 0];
      while (start < after.length && before[start] === after[start]) start += 1;
      while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
      this.content = after;
      // The editor's own undo would keep every version of the whole file.
      model.sharedModel.transact(() => model.sharedModel.updateSource(start, before.length - end, after.slice(start, after.length - end)), false);
      this.tellLock();
      if (this.told.hidden) this.saving();
    }

    tellLock() {
      if (this.told) this.told.hidden = this.context.contentsModel?.writable !== false || !this.context.model.dirty;
    }

    async save() {
      const { context } = this;
      if (this.isDisposed) return;
      if (saved.has(context)) return void this.saving();
      saved.add(context);
      const { content } = this;
      await context.save().catch(() => undefined); // JupyterLab says why
      saved.delete(context);
      if (this.isDisposed || content === this.content) return;
      context.model.dirty = true; // JupyterLab takes it for saved
      this.saving();
    }

    end() {
      const { ends } = this;
      [this.ends, this.store, this.document, this.told] = [null, null, null, null]; // before: what ends may want to write
      ends?.forEach((end) => end());
    }

    dispose() {
      if (this.isDisposed) return;
      this.saving.cancel();
      this.typed.cancel();
      this.end();
      super.dispose();
    }

    onActivateRequest() {
      const first = this.node.querySelector('tr[tabindex="0"]') ?? this.node;
      if (!this.node.contains(globalThis.document.activeElement)) first.focus({ preventScroll: true });
    }
  };
}

/** Return the plugin that shows saved audits, one by one and two beside each other. */
export function viewerPlugin(jupyter) {
  const { application, apputils, docmanager, docregistry, filebrowser, services, translation } = jupyter;
  return {
    id: "mmaudit:viewer",
    description: "Shows saved audits (*.mmaudit.json) without a kernel, and compares two.",
    autoStart: true,
    requires: [docmanager.IDocumentManager],
    optional: [application.ILayoutRestorer, apputils.ICommandPalette, translation.ITranslator, filebrowser.IFileBrowserFactory],
    activate(app, documents, restorer, palette, translator, browsers) {
      const trans = (translator ?? translation.nullTranslator).load("mmaudit");
      const View = makeView(jupyter, trans);
      const tracker = new apputils.WidgetTracker({ namespace: "mmaudit" });

      app.docRegistry.addFileType({
        name: FILE_TYPE,
        displayName: trans.__("Saved audit"),
        extensions: [EXTENSION],
        mimeTypes: ["application/json"],
        contentType: "file",
        fileFormat: "text",
        icon: icon(jupyter, "audit"),
      });
      class Factory extends docregistry.ABCWidgetFactory {
        createNewWidget(context) {
          const content = new View(context);
          content.asText = () => void documents.openOrReveal(context.path, "Editor");
          const widget = new docregistry.DocumentWidget({ context, content });
          widget.title.icon = icon(jupyter, "audit");
          const compare = () => app.commands.execute("mmaudit:compare", { left: context.path });
          widget.toolbar.addItem("compare", new apputils.ToolbarButton({ label: trans.__("Compare with …"), tooltip: trans.__("Compare with another saved audit"), onClick: compare }));
          const open = () => app.commands.execute("mmaudit:explore", { path: context.path });
          widget.toolbar.addItem("notebook", new apputils.ToolbarButton({ label: trans.__("Open in a notebook"), tooltip: trans.__("Explore it with a kernel"), onClick: open }));
          return widget;
        }
      }
      const factory = new Factory({ name: FACTORY, label: trans.__("Audit"), modelName: "text", fileTypes: [FILE_TYPE, "json"], defaultFor: [FILE_TYPE] });
      factory.widgetCreated.connect((_, widget) => {
        void tracker.add(widget);
        widget.context.pathChanged.connect(() => tracker.save(widget));
      });
      app.docRegistry.addWidgetFactory(factory);
      void restorer?.restore(tracker, { command: "docmanager:open", args: ({ context }) => ({ path: context.path, factory: FACTORY }), name: ({ context }) => context.path });

      /** Ask for a saved audit; resolves to its path, or null. */
      const choose = async (title) => {
        const filter = (item) => (item.type === "directory" || item.name.endsWith(EXTENSION) ? { score: 1 } : null);
        const { value } = await filebrowser.FileDialog.getOpenFiles({ manager: documents, title, filter, translator: translator ?? undefined });
        const file = value?.find(({ type }) => type !== "directory");
        return file?.path ?? null;
      };
      const current = () => tracker.currentWidget?.context.path;
      const selected = () => [...(browsers?.tracker.currentWidget?.selectedItems() ?? [])].filter(({ name }) => name.endsWith(EXTENSION)).map(({ path }) => path);

      const Comparison = makeComparison(jupyter, trans, { contents: app.serviceManager.contents, open: (path) => documents.openOrReveal(path, FACTORY), storeOf: (path) => tracker.find(({ context }) => context.path === path)?.content.store });
      const comparisons = new apputils.WidgetTracker({ namespace: "mmaudit-compare" });
      app.commands.addCommand("mmaudit:compare", {
        label: ({ isContext }) => (isContext ? trans.__("Compare audits") : trans.__("Compare two audits…")),
        caption: trans.__("Show the slices of two saved audits beside each other"),
        icon: icon(jupyter, "audit"),
        isVisible: ({ isContext }) => !isContext || selected().length > 0,
        async execute({ left, right, isContext }) {
          const given = isContext ? selected() : [];
          const one = left ?? given[0] ?? current() ?? (await choose(trans.__("Choose the first audit")));
          const other = one && (right ?? given[1] ?? (await choose(trans.__("Compare %1 with", split(one).name))));
          if (!other) return;
          const id = `mmaudit-compare-${one}|${other}`;
          const open = comparisons.find((widget) => widget.id === id);
          const widget = open ?? new apputils.MainAreaWidget({ content: new Comparison(one, other) });
          if (!open) {
            Object.assign(widget, { id });
            Object.assign(widget.title, { label: trans.__("%1 and %2", split(one).name, split(other).name), closable: true, icon: icon(jupyter, "audit") });
            app.shell.add(widget, "main");
            await comparisons.add(widget);
          }
          app.shell.activateById(id);
        },
      });
      void restorer?.restore(comparisons, { command: "mmaudit:compare", args: ({ content }) => ({ left: content.left, right: content.right }), name: ({ id }) => id });

      app.commands.addCommand("mmaudit:open", {
        label: trans.__("Open a saved audit…"),
        icon: icon(jupyter, "audit"),
        async execute({ path }) {
          const chosen = path ?? (await choose(trans.__("Choose a saved audit")));
          if (chosen) documents.openOrReveal(chosen, FACTORY);
        },
      });
      const explore = async (path) => {
        const { Kernel, pythonKernels } = await import("./kernel.js");
        const [{ folder, name }, [python]] = [split(path, app.serviceManager.contents), await pythonKernels(app.serviceManager)];
        if (!python) throw new Error(trans.__("There is no Python kernel. Install one: pip install ipykernel."));
        const kernel = new Kernel({ services, manager: app.serviceManager, trans }, folder, python.name);
        try {
          const notebook = join(folder, (await kernel.ask({ ask: "open", path: name })).path);
          await app.commands.execute("docmanager:open", { path: notebook, factory: "Notebook", kernel: { name: python.name } });
          return notebook;
        } finally {
          kernel.dispose();
        }
      };
      app.commands.addCommand("mmaudit:explore", {
        label: trans.__("Explore the saved audit in a notebook"),
        isEnabled: ({ path }) => Boolean(path ?? current()),
        execute({ path }) {
          const made = explore(path ?? current());
          apputils.Notification.promise(made, {
            pending: { message: trans.__("Making a notebook …") },
            success: { message: (notebook) => trans.__("The notebook is %1.", notebook), options: { autoClose: 3000 } },
            error: { message: (error) => error.message },
          });
          return made.catch(() => undefined);
        },
      });
      for (const command of ["mmaudit:open", "mmaudit:compare", "mmaudit:explore"]) palette?.addItem({ command, category: "mmaudit" });
      app.contextMenu.addItem({ command: "mmaudit:compare", args: { isContext: true }, selector: `.jp-DirListing-item[data-file-type="${FILE_TYPE}"]`, rank: 4 });
    },
  };
}
