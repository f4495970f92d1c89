// What takes time: words on how far it is, and a button to cancel it.

import { button, fill, h } from "./dom.js";

export const SLOW_MS = 2000;

/**
 * Show in `el` how far a request is, and a button to cancel it; return its answer, or null where it was cancelled or
 * failed, which is said in `el`.
 * @param {HTMLElement} el
 * @param {any} store
 * @param {string} words what is being done
 * @param {(how: {signal: AbortSignal, onProgress: (progress: any) => void}) => Promise<any>} ask
 */
export async function work(el, store, words, ask) {
  const stop = new AbortController();
  const told = h("span", {}, `${words} …`);
  const bar = h("progress", { class: "mma-progress", max: 1, "aria-label": words });
  fill(el, h("div", { class: "mma-message mma-bar" }, told, bar, button("Cancel", () => stop.abort())));
  const slow = setTimeout(() => (told.textContent = `${words}: waiting for the kernel …`), SLOW_MS);
  try {
    const answer = await ask({
      signal: stop.signal,
      onProgress({ done, total, text }) {
        clearTimeout(slow);
        bar.value = done / (total || 1);
        told.textContent = `${words}: ${text || "done"} …`;
      },
    });
    fill(el);
    return answer;
  } catch (error) {
    const cancelled = error.name === "AbortError";
    const said = cancelled ? `${words}: cancelled` : error.message;
    fill(el, h("div", { class: "mma-message", "data-kind": cancelled ? null : "error" }, said));
    store.say(said);
    return null;
  } finally {
    clearTimeout(slow);
  }
}
