/**
 * What an operator does: always with a reason, always asked once more, always told how it went.
 */

import { byId, el, say, show } from "../ui/dom.mjs";
import { api } from "./api.mjs";

let hiding = 0;

/** A short word about what was done. @param {string} text */
export function toast(text) {
  const toast = byId("toast");
  say(toast, text);
  show(toast, true);
  clearTimeout(hiding);
  hiding = setTimeout(() => show(toast, false), 5_000);
}

/**
 * @typedef {object} Action
 * @property {string} name        as on its button
 * @property {string} [title]     what is asked, where the name alone could mean the question itself
 * @property {string} [yes]       the button that does it, instead of the name
 * @property {string} [no]        the button that does not
 * @property {string} event       of the protocol
 * @property {Record<string, any>} [body]
 * @property {string} about       what it does, in a sentence
 * @property {boolean} [grave]    it takes something away
 * @property {(form: HTMLElement) => (() => Record<string, any>)} [more]   adds fields, and gives what they say
 * @property {(answer: any) => string} done   how it went, in a sentence
 */

/**
 * A button for an action; `after` is called when it is done.
 * @param {Action} action
 * @param {() => void} after
 */
export function button(action, after) {
  const kind = action.grave ? "button small grave" : "button small";
  return el("button", { class: kind, type: "button", text: action.name, onclick: () => ask(action, after) });
}

/** @param {Action} action
 * @param {() => void} after */
function ask(action, after) {
  const dialog = byId("ask");
  const refused = el("p", { class: "refused", role: "alert", hidden: true });
  const fields = el("div", { class: "fields" });
  const more = action.more?.(fields) ?? (() => ({}));
  const reason = el("input", { id: "reason", maxlength: "200", required: true, autocomplete: "off" });
  const submit = el("button", { class: action.grave ? "button main grave" : "button main", type: "submit", text: action.yes ?? action.name });
  const form = el("form", {},
    el("h2", { id: "askTitle", text: action.title ?? action.name }),
    el("p", { class: "soft", text: action.about }),
    fields,
    el("label", { class: "field" }, el("span", { text: "Reason, for the audit log" }), reason),
    refused,
    el("p", { class: "row" }, el("button", { class: "button", type: "button", text: action.no ?? "Not now", onclick: () => dialog.close() }), submit),
  );
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    submit.disabled = true;
    show(refused, false);
    try {
      const answer = await api.command(action.event, { ...action.body, ...more(), reason: reason.value.trim() });
      dialog.close();
      toast(action.done(answer));
      after();
    } catch (error) {
      say(refused, error.message);
      show(refused, true);
    } finally {
      submit.disabled = false;
    }
  });
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  (fields.querySelector("input, select, textarea") ?? reason).focus();
}
