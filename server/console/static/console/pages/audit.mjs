/** What administrators and commands of the shell did. */

import { el } from "../../ui/dom.mjs";
import { open as openTable } from "../table.mjs";
import { ago, id, json, moment, person, plain } from "../words.mjs";

export const title = "Audit log";
/** What was done, as it stands before the name of whom or what it was done to. @type {Record<string, string>} */
const DID = {
  "users block": "Blocked", "users unblock": "Let in again", "users keep apart": "Kept apart from another", "users let meet": "Let meet another again",
  "users add": "Made an account for", "users role": "Gave another role to", "users paper": "Noted a paper of", "users courier": "Set what is carried by", "users token": "Made and logged in",
  "jobs assign": "Assigned", "jobs unassign": "Took from its driver", "jobs move": "Moved on", "jobs cancel": "Cancelled", "jobs lift hold": "Let go on",
  "areas pause": "Paused", "areas resume": "Opened again", "areas edit": "Edited", "areas put": "Put in place",
  "areas policy shadow": "Tried a policy in the shadow of", "areas policy promote": "Made the shadow policy hold in",
  "areas policy drop_shadow": "Ended the shadow policy of", "areas policy rollback": "Went back to the policy before in",
  "letters retry": "Tried again to write", "letters discard": "Discarded",
  rehydrate: "Rebuilt the live state of", seed: "Filled with an invented past",
};
/** @type {Record<string, string>} */
const TYPES = { user: "A person", letter: "Dead letter", package: "Parcel", database: "Shard" };
const KNOWN = new Set(["before", "after", "reason", "count"]);

/** @param {any} row */
const did = (row) => DID[row.action] ?? plain(row.action);
const PAGES = /** @type {Record<string, string>} */ ({ user: "users", ride: "rides", package: "packages", area: "areas" });

/** Whom or what it was done to, by name where there is one. @param {any} row */
function named({ subject, details }) {
  if (subject.type === "users") return `${details.count} invented ${subject.id}${details.count === 1 ? "" : "s"}`;
  const short = subject.id.length > 20 ? `…${subject.id.slice(-8)}` : subject.id;
  return subject.name || `${TYPES[subject.type] ?? plain(subject.type)} ${short}`;
}

/** @param {any} row */
function subject(row) {
  const page = PAGES[row.subject.type];
  return page ? el("a", { href: `/console/${page}?q=${encodeURIComponent(row.subject.id)}`, text: named(row) }) : named(row);
}

/** What changed, in few words. @param {any} row */
function change(row) {
  const { before, after } = row.details;
  const said = Object.entries(row.details).filter(([name, value]) => !KNOWN.has(name) && value !== null && typeof value !== "object");
  if (!before || !after) return said.map(([name, value]) => `${name}: ${value}`).join("; ");
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
    filters: [{ name: "action", title: "Action", options: [["", "Any action"], ...Object.entries(DID)] }],
    columns: [
      { title: "What", cell: did },
      { title: "To", cell: subject },
      { title: "Change", cell: change, class: "long" },
      { title: "Why", cell: (row) => row.details.reason ?? "", class: "long" },
      { title: "Who", cell: (row) => row.actor?.name || "The shell" },
      { title: "When", cell: (row) => ago(row.at) },
    ],
    empty: "Nothing was done by hand yet.",
    story: (row) => ({
      title: `${did(row)} ${named(row)}`,
      facts: [["Who", person(row.actor) || "A command of the shell"], ["To", subject(row)], ["Its id", id(row.subject.id)], ["Why", row.details.reason], ["When", moment(row.at)], ["Line", id(row.id)]],
      more: json(row.details),
      actions: [],
    }),
  });
