// A kernel that answers questions about the files of a folder. It lives as long as who asks.

import { newId } from "../shared/dom.js";
import { join } from "./common.js";

const ANSWER = "application/vnd.mmaudit.answer+json";

/**
 * Return the code that asks. It is plain ASCII: IPython would split the line at some of the other characters. Modules are
 * never taken from the folder of the table, which may be somebody else's.
 */
export function codeOf(question) {
  const json = JSON.stringify(question).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return `import sys; sys.path[:] = [p for p in sys.path if p]; import mmaudit.lab as _m; _m.answer(${JSON.stringify(json)})`;
}

/** Return the Python kernels as [{name, title}], the server's default first. */
export async function pythonKernels({ kernelspecs }) {
  await kernelspecs.ready;
  const { default: usual, kernelspecs: all = {} } = kernelspecs.specs ?? {};
  const python = Object.values(all).filter((spec) => spec?.language?.toLowerCase() === "python");
  python.sort((a, b) => Number(b.name === usual) - Number(a.name === usual));
  return python.map(({ name, display_name }) => ({ name, title: display_name }));
}

/** Return what an error of Python means here. Its own text may quote the table: only that of an import is safe. */
function meaning({ ename, evalue }, trans) {
  const text = String(evalue);
  if (ename === "ModuleNotFoundError" && text.includes("'mmaudit'")) return trans.__("This Python has no mmaudit. Run “pip install mmaudit” in its environment, then try again.");
  if (text.includes("mmaudit.lab") && /^(ModuleNotFound|Attribute|Import)Error$/.test(ename)) {
    return trans.__("The mmaudit of this Python is too old. Run “pip install --upgrade mmaudit” in its environment, then try again.");
  }
  if (ename === "ModuleNotFoundError") return trans.__("This Python lacks what mmaudit needs: %1. Run “pip install --upgrade mmaudit” in its environment, then try again.", text);
  return trans.__("mmaudit stopped with a %1. Try again; if it happens again, look at the log of the server.", ename);
}

export class Kernel {
  /**
   * Start a kernel whose working directory is `folder`.
   * @param {{services: any, manager: any, trans: any}} lab the module @jupyterlab/services, a service manager, words
   * @param {string} folder a path of the server
   * @param {string} name of a kernel's specification
   */
  constructor({ services, manager, trans }, folder, name) {
    Object.assign(this, { services, trans, ended: null, answered: new Set(), turn: Promise.resolve() });
    const path = join(manager.contents.localPath(folder), `.${newId()}`);
    this.dead = new Promise((_, reject) => (this.die = reject));
    this.dead.catch(() => {});
    this.starting = manager.sessions.startNew({ path, name: "mmaudit", type: "mmaudit", kernel: { name } }).then(
      (session) => this.#started(session),
      () => this.#end(trans.__("The kernel “%1” did not start. Choose another one, or look at the log of the server.", name)),
    );
    this.leave = () => this.#leave();
    addEventListener("pagehide", this.leave);
  }

  #started(session) {
    this.session = session;
    const lost = () => this.#end(this.trans.__("The kernel stopped before it answered, perhaps for lack of memory. Try again, with a smaller table if it stops again."));
    const { kernel } = session;
    kernel.statusChanged.connect((_, status) => /dead|restarting/.test(status) && lost());
    kernel.connectionStatusChanged.connect((_, status) => status === "disconnected" && lost());
    kernel.disposed.connect(lost);
  }

  #end(words) {
    this.ended ??= new Error(words);
    this.die(this.ended);
  }

  /**
   * Ask a question; resolve to what the answer holds under "ok", or reject with its error. Questions wait for each other.
   * @param {Record<string, any>} question
   * @param {{signal?: AbortSignal, onProgress?: (progress: {done: number, total: number, text: string}) => void}} [options]
   */
  ask(question, { signal, onProgress } = {}) {
    const aborted = new Promise((_, reject) => {
      const stop = () => reject(signal.reason);
      if (signal?.aborted) stop();
      else signal?.addEventListener("abort", stop, { once: true });
    });
    const answer = this.turn
      .then(() => Promise.race([this.starting, this.dead]))
      .then(() => {
        if (this.ended) throw this.ended;
        signal?.throwIfAborted();
        return this.#send(question, signal, onProgress);
      });
    this.turn = answer.catch(() => {});
    return Promise.race([answer, this.dead, aborted]);
  }

  async #send(question, signal, onProgress) {
    const { kernel } = this.session;
    const content = { code: codeOf(question), store_history: false, allow_stdin: false, stop_on_error: false };
    const future = kernel.requestExecute(content, true);
    let answer = null;
    future.onIOPub = ({ header, content: { data, ...error } }) => {
      const got = header.msg_type === "error" ? { error: meaning(error, this.trans) } : data?.[ANSWER];
      if (got?.progress) onProgress?.(got.progress);
      else answer = got ?? answer;
    };
    // A library whose first import was interrupted can be left broken: not before such a question was answered once.
    let interrupted = null;
    const interrupt = () => (interrupted = this.answered.has(question.ask) ? kernel.interrupt().catch(() => {}) : null);
    signal?.addEventListener("abort", interrupt, { once: true });
    await Promise.race([future.done, this.dead]);
    signal?.removeEventListener("abort", interrupt);
    await interrupted;
    this.answered.add(question.ask);
    if (answer?.ok) return answer.ok;
    throw new Error(answer?.error ?? this.trans.__("The kernel gave no answer. Try again."));
  }

  /** Shut the kernel down, also one that is still starting. */
  async dispose() {
    removeEventListener("pagehide", this.leave);
    this.#end(this.trans.__("The kernel was shut down."));
    await this.starting;
    await this.session?.shutdown().catch(() => {}); // it is gone already
  }

  /** Shut it down when the page goes: only a request with "keepalive" outlives the page. */
  #leave() {
    if (!this.session) return;
    const { id, serverSettings: settings } = this.session;
    const url = `${settings.baseUrl}api/sessions/${encodeURIComponent(id)}`;
    this.services.ServerConnection.makeRequest(url, { method: "DELETE", keepalive: true }, settings).catch(() => {});
  }
}
