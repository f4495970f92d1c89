// What the plugins share: icons, style, where files lie, and the words of an error.

const SHEETS = ["theme.css", "table.css", "grid.css", "viewer.css", "explorer.css", "lab/lab.css", "lab/dialog.css"];
export const CATEGORY = "mmaudit";

const frame = (inside) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16" fill="none"><g class="jp-icon3" stroke="#616161" stroke-width="1.6" stroke-linecap="round">${inside}</g></svg>`;
const ICONS = {
  // A film of the chest under a magnifying glass; the same with a plus; a book.
  audit: frame('<rect x="3" y="3" width="12" height="14" rx="1.5"/><path d="M9 6v8M6.2 8.2c1.6-.9 4-.9 5.6 0M6.2 11c1.6-.9 4-.9 5.6 0"/><circle cx="15.5" cy="15.5" r="3.8"/><path d="M18.4 18.4 21.5 21.5"/>'),
  new: frame('<rect x="3" y="3" width="13" height="15" rx="1.5"/><path d="M9.5 6v9M6.200 8.5c2-1 4.6-1 6.6 0M6.200 11.5c2-1 4.6-1 6.6 0"/><path d="M19 14v7M15.5 17.5h7" stroke-width="2.2"/>'),
  workshop: frame('<path d="M12 6c-2-1.5-5-2-9-2v14c4 0 7 .5 9 2 2-1.5 5-2 9-2V4c-4 0-7 .5-9 2zM12 6v14"/><path d="M6 8.5c1.200 0 2.200.2 3 .5M6 12c1.200 0 2.200.2 3 .5M15 9c.8-.3 1.800-.5 3-.5M15 12.5c.8-.3 1.800-.5 3-.5"/>'),
};

const made = new Map();
/** Return an icon by its name; JupyterLab knows each once. */
export function icon({ ui }, name) {
  if (!made.has(name)) made.set(name, new ui.LabIcon({ name: `mmaudit:${name}`, svgstr: ICONS[name] }));
  return made.get(name);
}

let styled = null;
/** Add the style sheets to the page, once; resolves when they are there. */
export function style() {
  styled ??= Promise.all(
    SHEETS.map((name) => {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = String(new URL(`../${name}`, import.meta.url));
      const there = new Promise((resolve) => (link.onload = link.onerror = resolve));
      document.head.append(link);
      return there;
    }),
  );
  return styled;
}

/** Return the folder and the name of a path of the server. A drive of `contents`, as in "RTC:x.csv", stays with the folder. */
export function split(path, contents = null) {
  const slash = path.lastIndexOf("/");
  const drive = contents?.driveName(path);
  const at = slash < 0 && drive ? drive.length : slash;
  return { folder: path.slice(0, at + 1).replace(/\/$/, ""), name: path.slice(at + 1) };
}

/** Return the path of a name in a folder. */
export function join(folder, name) {
  return folder && !folder.endsWith(":") ? `${folder}/${name}` : `${folder}${name}`;
}
