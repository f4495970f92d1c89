// What JupyterLab loads first: a container as webpack's module federation expects one, written by hand, so that there is
// nothing to build. It takes JupyterLab's own modules from the scope that all extensions share, and hands them on.
// https://webpack.js.org/concepts/module-federation/#dynamic-remote-containers

(() => {
  const here = document.currentScript.src;
  const NEEDED = {
    application: "@jupyterlab/application",
    apputils: "@jupyterlab/apputils",
    docmanager: "@jupyterlab/docmanager",
    docregistry: "@jupyterlab/docregistry",
    filebrowser: "@jupyterlab/filebrowser",
    launcher: "@jupyterlab/launcher",
    services: "@jupyterlab/services",
    translation: "@jupyterlab/translation",
    ui: "@jupyterlab/ui-components",
    widgets: "@lumino/widgets",
  };
  let shared = null;

  /** Return a module of JupyterLab: of several versions the one in use, else the latest, as webpack chooses. */
  async function sharedModule(name) {
    const entries = Object.entries(shared[name] ?? {});
    const inOrder = entries.sort(([a, one], [b, other]) => Number(Boolean(other.loaded)) - Number(Boolean(one.loaded)) || b.localeCompare(a, "en", { numeric: true }));
    if (!inOrder.length) throw new Error(`mmaudit: this JupyterLab shares no ${name}`);
    return (await inOrder[0][1].get())();
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.mmaudit = {
    init(scope) {
      shared = scope;
    },
    async get() {
      const names = Object.keys(NEEDED);
      const [{ plugins }, ...modules] = await Promise.all([import(new URL("plugins.js", here)), ...names.map((name) => sharedModule(NEEDED[name]))]);
      const jupyter = Object.fromEntries(names.map((name, k) => [name, modules[k]]));
      const extension = { __esModule: true, default: plugins(jupyter) };
      return () => extension;
    },
  };
})();
