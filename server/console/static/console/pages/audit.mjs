/** What administrators and commands of the shell did. */

import { el } from "../../ui/dom.mjs";
import { open as openTable } from "../table.mjs";
import { ago, id, json, moment, person, plain } from "../words.mjs";

export const title = "Audit log";
const ACTIONS = ["users block", "users unblock", "users keep apart", "users let meet", "users add", "users role", "jobs assign", "jobs unassign", "jobs move", "jobs cancel", "jobs lift hold", "areas pause", "areas resume", "areas edit", "areas put", "letters retry", "letters discard"];
const PAGES = /** @type {Record<string, string>} */ ({ user: "users", ride: "rides", package: "packages", area: "areas" });

/** @param {any} row */
function subject(row) {
  const page = PAGES[row.subject.type];
  const text = `${plain(row.subject.type)} ${row.subject.id.length > 20 ? `…${row.subject.id.slice(-8)}` : row.subject.id}`;
  return page ? el("a", { href: `/console/${page}?q=${encodeURIComponent(row.subject.id)}`, text }) : text;
}

/** What changed, in few words. @param {any} row */
function change(row) {
  const { before, after } = row.details;
  if (!before || !after) return "";
  const names = Object.keys(after).filter((name) => name !== "version" && JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  const word = (/** @type {any} */ value) => (value === null || value === undefined ? "nothing" : typeof value === "object" ? "…" : String(value).length > 24 ? `…${String(value).slice(-8)}` : String(value));
  return names.slice(0, 3).map((name) => `${name}: ${word(before[name])} → ${word(after[name])}`).join("; ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
}

/** @param {HTMLElement} root */
export const open = (root) =>
  openTable(root, {
    title,
    lead: "Who did what to whom or what, and why. Nothing here is ever changed or taken away.",
    path: "/api/admin/audit",
    searched: "Who, what, why, or an id",
    filters: [{ name: "action", title: "Action", options: [["", "Any action"], ...ACTIONS.map((word) => /** @type {[string, string]} */ ([word, plain(word)]))] }],
    columns: [
      { title: "What", cell: (row) => plain(row.action) },
      { title: "To", cell: subject },
      { title: "Change", cell: change, class: "long" },
      { title: "Why", cell: (row) => row.details.reason ?? "", class: "long" },
      { title: "Who", cell: (row) => row.actor?.name || "The shell" },
      { title: "When", cell: (row) => ago(row.at) },
    ],
    empty: "Nothing was done by hand yet.",
    story: (row) => ({
      title: plain(row.action),
      facts: [["Who", person(row.actor) || "A command of the shell"], ["To", subject(row)], ["Its id", id(row.subject.id)], ["Why", row.details.reason], ["When", moment(row.at)], ["Line", id(row.id)]],
      more: json(row.details),
      actions: [],
    }),
  });
