// The panel of the workshop: its notebooks, of which copies are made in a folder of the user's.

import { button, fill, h, newId } from "../shared/dom.js";
import { CATEGORY, icon, join, style } from "./common.js";

const FOLDERS = { learner: "mmaudit-workshop", instructor: "mmaudit-workshop-solutions" };

/** Return the plugin; `jupyter`: the modules of JupyterLab. */
export function workshopPlugin(jupyter) {
  const { application, apputils, filebrowser, launcher, translation, widgets } = jupyter;
  return {
    id: "mmaudit:workshop",
    description: "Shows the notebooks of the workshop, and opens copies of them.",
    autoStart: true,
    optional: [application.ILayoutRestorer, filebrowser.IDefaultFileBrowser, translation.ITranslator, apputils.ICommandPalette, launcher.ILauncher],
    activate(app, restorer, browser, translator, palette, cards) {
      const trans = (translator ?? translation.nullTranslator).load("mmaudit");
      const command = "mmaudit:workshop";
      const tracker = new apputils.WidgetTracker({ namespace: "mmaudit-workshop" });
      const Panel = panelOf(widgets.Widget);
      app.commands.addCommand(command, {
        label: trans.__("Workshop"),
        caption: trans.__("Learn to audit with the notebooks of the workshop"),
        icon: icon(jupyter, "workshop"),
        execute: (args) => {
          const cwd = args.cwd ?? browser?.model.path ?? "";
          let panel = tracker.find(({ content }) => content.cwd === cwd);
          if (!panel) {
            panel = new apputils.MainAreaWidget({ content: new Panel({ services: jupyter.services, app, browser, trans, cwd }) });
            panel.id = newId();
            Object.assign(panel.title, { label: trans.__("Workshop"), caption: trans.__("Workshop in %1", cwd || "/"), icon: icon(jupyter, "workshop"), closable: true });
            panel.toolbar.hide();
            tracker.add(panel);
          }
          if (!panel.isAttached) app.shell.add(panel, "main");
          app.shell.activateById(panel.id);
          return panel;
        },
      });
      restorer?.restore(tracker, { command, args: ({ content }) => ({ cwd: content.cwd }), name: ({ content }) => content.cwd || "/" });
      cards?.add({ command, category: CATEGORY, rank: 2 });
      palette?.addItem({ command, category: CATEGORY });
    },
  };
}

const panelOf = (Widget) =>
  /** The list of the notebooks; `cwd`: the folder in which the folder of the copies is made. */
  class extends Widget {
    constructor({ services, app, browser, trans, cwd }) {
      super();
      Object.assign(this, { services, app, browser, trans, cwd, copied: new Set() });
      this.node.classList.add("mma-lab-page");
      this.node.tabIndex = -1;
      const id = newId();
      this.folder = h("input", { class: "mma-input", type: "text", dir: "auto", spellcheck: "false", value: FOLDERS.learner, "aria-describedby": id });
      this.solutions = h("input", { type: "checkbox", onchange: () => this.chooseFolder() });
      this.list = h("div");
      this.said = h("p", { class: "mma-lab-said", role: "status" });
      this.node.append(
        h(
          "div",
          { class: "mma-root mma-lab-workshop" },
          h("h1", {}, trans.__("Workshop: auditing an image classifier")),
          h("p", { id }, trans.__("Opening a notebook copies all of them into a folder of yours. The originals stay as they are, and so does every file that the folder has already.")),
          h("p", { class: "mma-bar" }, h("label", {}, trans.__("Folder of the copies: "), h("bdi", { dir: "auto" }, cwd ? `${cwd}/` : "/"), this.folder), h("label", {}, this.solutions, trans.__(" with solutions (instructor)"))),
          this.said,
          this.list,
        ),
      );
      style();
    }

    onActivateRequest() {
      this.node.focus();
    }

    onAfterAttach() {
      if (this.isVisible) this.load();
    }

    /** A panel that a reload brings back asks nothing until it is seen. */
    onAfterShow() {
      this.load();
    }

    get audience() {
      return this.solutions.checked ? "instructor" : "learner";
    }

    /** Solutions go to a folder of their own: in the learner's folder the copies without them would be kept. */
    chooseFolder() {
      if (Object.values(FOLDERS).includes(this.folder.value)) this.folder.value = FOLDERS[this.audience];
    }

    /** Ask a kernel that lives for this question only. */
    async ask(question) {
      const { Kernel, pythonKernels } = await import("./kernel.js");
      const manager = this.app.serviceManager;
      const [first] = await pythonKernels(manager);
      if (!first) throw new Error(this.trans.__("There is no Python kernel. Run “pip install ipykernel mmaudit” in the environment of Jupyter, then reload this page."));
      const kernel = (this.kernel = new Kernel({ services: this.services, manager, trans: this.trans }, this.cwd, first.name));
      try {
        return await kernel.ask(question);
      } finally {
        kernel.dispose();
      }
    }

    dispose() {
      this.kernel?.dispose();
      super.dispose();
    }

    async load() {
      if (this.loaded) return;
      this.loaded = true;
      fill(this.list, h("p", {}, this.trans.__("Reading the contents …"), " ", h("progress", { class: "mma-progress", "aria-label": this.trans.__("Progress") })));
      try {
        const { notebooks } = await this.ask({ ask: "contents" });
        fill(this.list, h("ol", { class: "mma-lab-notebooks" }, ...notebooks.map((notebook) => this.entry(notebook))));
      } catch (error) {
        this.loaded = false;
        fill(this.list);
        this.fail(error, () => (fill(this.said), this.load()));
      }
    }

    fail({ message }, again) {
      fill(this.said, h("span", { class: "mma-message", "data-kind": "error" }, `✕ ${message} `), button(this.trans.__("Try again"), again));
    }

    entry({ file, title, question, minutes }) {
      const { trans } = this;
      const number = /^\d+/.exec(file)?.[0] ?? "";
      const time = minutes ? h("span", { class: "mma-chip" }, trans.__("%1 min", minutes)) : null;
      const open = button(trans.__("Open"), () => this.open(file), { "aria-label": trans.__("Open %1 %2", number, title) });
      return h("li", {}, h("span", { class: "mma-quiet" }, number), h("div", {}, h("strong", {}, title), " ", time, h("p", {}, ...question.split("*").map((part, k) => (k % 2 ? h("em", {}, part) : part)))), open);
    }

    /** Copy the notebooks, the first time, and open one of the copies. */
    async open(file) {
      if (this.busy) return;
      const { trans, audience } = this;
      const name = this.folder.value.trim();
      const place = JSON.stringify([name, audience]);
      this.busy = true;
      try {
        if (!this.copied.has(place)) {
          fill(this.said, trans.__("Copying the notebooks …"));
          const { folder, files, kept } = await this.ask({ ask: "copy", folder: name, audience });
          this.copied.add(place);
          const n = kept.length;
          fill(this.said, trans.__("The notebooks are in %1.", `\u2068${folder}\u2069`), n ? " " + trans._n("%1 file of yours differs and was kept.", "%1 files of yours differ and were kept.", n) : "");
          if (!files) throw new Error(trans.__("Nothing was copied. Try again."));
          await this.browser?.model.refresh();
        }
        await this.app.commands.execute("docmanager:open", { path: join(join(this.cwd, name), file), factory: "Notebook" });
      } catch (error) {
        this.copied.delete(place); // the copies may be gone by now
        if (!this.isDisposed) this.fail(error, () => this.open(file));
      } finally {
        this.busy = false;
      }
    }
  };
