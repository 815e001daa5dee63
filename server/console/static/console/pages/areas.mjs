/** Areas: paused or not, their prices and their rules. */

import { el } from "../../ui/dom.mjs";
import { open as openTable } from "../table.mjs";
import { api } from "../api.mjs";
import { count, id, json, moment, pill, plain } from "../words.mjs";

export const title = "Areas";

/** The text of a document as one, or what is wrong with it as the field's own word.
 * @param {HTMLTextAreaElement} field */
function parsed(field) {
  try {
    const value = JSON.parse(field.value);
    field.setCustomValidity("");
    return value;
  } catch {
    field.setCustomValidity("This is not JSON.");
    field.reportValidity();
    throw new Error("This is not JSON.");
  }
}

/** @param {any} row
 * @param {"policy" | "prices"} what
 * @param {Record<string, any>} defaults
 * @returns {import("../ask.mjs").Action} */
function edit(row, what, defaults) {
  const known = defaults[what];
  return {
    name: what === "policy" ? "Edit policy" : "Edit prices",
    event: "edit_area",
    body: { areaId: row.id, version: row.version },
    about: `What differs from the defaults, as JSON. Every node takes it up within seconds; trips under way keep their fare.`,
    more: (form) => {
      const field = el("textarea", { id: what, rows: "8", spellcheck: "false", class: "code" });
      field.value = JSON.stringify(row[what], null, 2);
      field.addEventListener("input", () => field.setCustomValidity(""));
      form.append(
        el("label", { class: "field" }, el("span", { text: plain(what) }), field),
        el("details", { class: "small" }, el("summary", { text: "The defaults" }), json(known)),
      );
      return () => ({ [what]: parsed(field) });
    },
    done: (answer) => `${row.name} is at version ${answer.version}.`,
  };
}

/** @param {Record<string, any>} document */
const own = (document) => (Object.keys(document).length ? json(document) : el("p", { class: "soft", text: "None: the defaults hold." }));

/** @param {HTMLElement} root */
export async function open(root) {
  /** @type {Record<string, any>} */
  const defaults = (await api.get("/api/admin/areas")).defaults;
  return openTable(root, {
    title,
    lead: "Where which rules and prices hold. A paused area takes nothing new and lets running trips end.",
    path: "/api/admin/areas",
    searched: "Name or id",
    filters: [],
    columns: [
      { title: "Name", cell: (row) => row.name },
      { title: "State", cell: (row) => (row.paused ? pill("paused") : pill("active", "Open")) },
      { title: "Live jobs", cell: (row) => count(row.jobs), class: "number right" },
      { title: "Drivers online", cell: (row) => count(row.drivers), class: "number right" },
      { title: "Currency", cell: (row) => row.currency },
      { title: "Own rules and prices", cell: (row) => [...Object.keys(row.policy), ...Object.keys(row.prices)].map(plain).join(", ") || "None: the defaults", class: "long" },
      { title: "Version", cell: (row) => String(row.version), class: "number right" },
    ],
    empty: "There are no areas. `dispatch areas put FILE` adds one.",
    story: (row) => ({
      title: row.name,
      facts: [["Id", id(row.id)], ["State", row.paused ? pill("paused") : pill("active", "Open")], ["Shard", row.shard], ["Currency", row.currency], ["Version", String(row.version)], ["Changed", moment(row.updatedAt)]],
      more: el("div", { class: "documents" }, el("h3", { text: "Own rules" }), own(row.policy), el("h3", { text: "Own prices" }), own(row.prices)),
      actions: [
        edit(row, "policy", defaults),
        edit(row, "prices", defaults),
        row.paused
          ? { name: "Resume", event: "resume_area", body: { areaId: row.id }, about: "New requests are taken again.", done: () => `${row.name} is open.` }
          : { name: "Pause", grave: true, event: "pause_area", body: { areaId: row.id }, about: "New requests are refused with a clear word; running trips end as ever.", done: () => `${row.name} is paused.` },
      ],
    }),
  });
}
