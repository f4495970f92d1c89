// The commands that start an audit from a table, and where they are found: menu, launcher, palette.

import { CATEGORY, icon, join, split, style } from "./common.js";

const TABLE = /\.(csv|csv\.gz|parquet)$/i;

/** Return the plugin; `jupyter`: the modules of JupyterLab. */
export function auditPlugin(jupyter) {
  const { apputils, docmanager, filebrowser, launcher, translation } = jupyter;
  return {
    id: "mmaudit:audit",
    description: "Starts an audit from a table of cases.",
    autoStart: true,
    requires: [docmanager.IDocumentManager, filebrowser.IFileBrowserFactory],
    optional: [filebrowser.IDefaultFileBrowser, translation.ITranslator, apputils.ICommandPalette, launcher.ILauncher],
    activate(app, manager, browsers, browser, translator, palette, cards) {
      const { commands } = app;
      translator ??= translation.nullTranslator;
      const trans = translator.load("mmaudit");
      const fileType = parquet(app.docRegistry, trans);
      const selected = () => {
        const items = [...(browsers.tracker.currentWidget?.selectedItems() ?? [])];
        return items.length === 1 && TABLE.test(items[0].name) ? items[0].path : null;
      };
      const start = async (path) => {
        const notebook = await audit(jupyter, app, trans, path);
        if (!notebook) return;
        await browser?.model.refresh();
        const panel = await commands.execute("docmanager:open", { path: notebook.path, factory: "Notebook", kernel: { name: notebook.kernel } });
        if (panel && notebook.run && (await kernelIdle(panel))) await commands.execute("notebook:run-all-cells", { semanticWidget: panel.id, activate: false });
      };
      commands.addCommand("mmaudit:audit-file", {
        label: trans.__("Audit with mmaudit"),
        caption: trans.__("Make an audit of the cases in this table"),
        icon: icon(jupyter, "audit"),
        isEnabled: (args) => Boolean(args.path || selected()),
        execute: (args) => start(args.path || selected()),
      });
      commands.addCommand("mmaudit:new-audit", {
        label: trans.__("New audit"),
        caption: trans.__("Choose a table of cases (CSV or parquet), and make an audit of it"),
        icon: icon(jupyter, "new"),
        execute: async (args) => {
          const { value } = await filebrowser.FileDialog.getOpenFiles({
            manager,
            translator,
            title: trans.__("A table of cases: CSV or parquet"),
            defaultPath: args.cwd || browser?.model.path || undefined,
            filter: ({ type, name }) => (type === "directory" || TABLE.test(name) ? {} : null),
          });
          const [file] = (value ?? []).filter(({ type }) => type !== "directory");
          if (file) await start(file.path);
        },
      });
      for (const type of ["csv", fileType]) {
        app.contextMenu.addItem({ command: "mmaudit:audit-file", selector: `.jp-DirListing-item[data-file-type="${CSS.escape(type)}"]`, rank: 3.5 });
      }
      cards?.add({ command: "mmaudit:new-audit", category: CATEGORY, rank: 1 });
      for (const command of ["mmaudit:new-audit", "mmaudit:audit-file"]) palette?.addItem({ command, category: CATEGORY });
    },
  };
}

/** Return the name of the file type of parquet; add one where JupyterLab has none. */
function parquet(registry, trans) {
  const known = [...registry.fileTypes()].find(({ extensions }) => extensions.includes(".parquet"));
  if (known) return known.name;
  registry.addFileType({
    name: "parquet",
    displayName: trans.__("Parquet file"),
    extensions: [".parquet"],
    mimeTypes: ["application/vnd.apache.parquet"],
    contentType: "file",
    fileFormat: "base64",
  });
  return "parquet";
}

/** Show the dialog for a table; resolve to the notebook as {path, kernel, run}, or to null. */
async function audit({ services }, { serviceManager }, trans, path) {
  const [{ Kernel, pythonKernels }, { askRoles }] = await Promise.all([import("./kernel.js"), import("./dialog.js"), style()]);
  const { folder, name } = split(path, serviceManager.contents);
  const kernels = await pythonKernels(serviceManager);
  const start = (kernel) => new Kernel({ services, manager: serviceManager, trans }, folder, kernel);
  const made = await askRoles({ name, kernels, start, trans });
  return made && { ...made, path: join(folder, made.path) };
}

/** Resolve to true when the kernel of a notebook can run its cells; to false when the notebook is closed before. */
async function kernelIdle(panel) {
  const { sessionContext } = panel.context;
  const changes = [sessionContext.statusChanged, sessionContext.connectionStatusChanged, sessionContext.kernelChanged];
  return new Promise((resolve) => {
    const look = () => {
      const kernel = sessionContext.session?.kernel;
      if (panel.isDisposed) end(false);
      else if (panel.content.model && kernel?.connectionStatus === "connected" && kernel.status === "idle") end(true);
    };
    const end = (idle) => {
      for (const change of changes) change.disconnect(look);
      panel.disposed.disconnect(look);
      resolve(idle);
    };
    for (const change of changes) change.connect(look);
    panel.disposed.connect(look);
    panel.context.ready.then(look, () => end(false));
  });
}
