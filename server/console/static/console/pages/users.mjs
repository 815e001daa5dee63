/** Everybody with an account; let in or not. */

import { el } from "../../ui/dom.mjs";
import { open as openTable } from "../table.mjs";
import { ago, id, moment, pill, plain } from "../words.mjs";

export const title = "People";

/** @param {string[]} words
 * @returns {[string, string][]} */
const options = (words) => words.map((word) => [word, plain(word)]);

/** @param {any} row
 * @returns {import("../ask.mjs").Action} */
export function standing(row) {
  const blocked = row.status !== "active";
  return blocked
    ? { name: "Unblock", event: "unblock_user", body: { userId: row.id }, about: `${row.name} may log in again.`, done: () => `${row.name} is let in again.` }
    : { name: "Block", grave: true, event: "block_user", body: { userId: row.id }, about: `${row.name} is let in no more; every open connection closes within seconds.`, done: () => `${row.name} is blocked.` };
}

/** Whether the match may bring him and somebody else together.
 * @param {any} row
 * @returns {import("../ask.mjs").Action[]} */
function pair(row) {
  const body = { userId: row.id };
  const more = (/** @type {HTMLElement} */ form) => {
    const field = el("input", { id: "otherId", required: true, autocomplete: "off", spellcheck: "false", pattern: "[0-9a-fA-F\\-]{36}", placeholder: "Id of the other, from his story" });
    form.append(el("label", { class: "field" }, el("span", { text: "From whom" }), field));
    return () => ({ otherId: field.value.trim() });
  };
  return [
    { name: "Keep apart", event: "keep_apart", body, more, about: `${row.name} and the other are not matched again; neither hears of it.`, done: () => "They are kept apart." },
    { name: "Let meet", event: "let_meet", body, more, about: `The match may bring ${row.name} and the other together again, unless one of them says no himself.`, done: () => "They may meet again." },
  ];
}

/** @param {HTMLElement} root */
export const open = (root) =>
  openTable(root, {
    title,
    lead: "Passengers, drivers, couriers and administrators, the newest first.",
    path: "/api/admin/users",
    searched: "Name, email, phone or id",
    filters: [
      { name: "role", title: "Role", options: [["", "Any role"], ...options(["passenger", "driver", "courier", "admin"])] },
      { name: "status", title: "Status", options: [["", "Any status"], ...options(["active", "suspended", "pending_verification", "deactivated"])] },
    ],
    columns: [
      { title: "Name", cell: (row) => row.name },
      { title: "Role", cell: (row) => plain(row.role) },
      { title: "Status", cell: (row) => pill(row.status, row.status === "suspended" ? "Blocked" : undefined) },
      { title: "Email", cell: (row) => row.email, class: "long" },
      { title: "Phone", cell: (row) => row.phone, class: "number" },
      { title: "Last seen", cell: (row) => ago(row.lastActiveAt) || "–" },
    ],
    empty: "Nobody has an account yet.",
    story: (row) => ({
      title: row.name,
      facts: [
        ["Id", id(row.id)], ["Role", plain(row.role)], ["Status", pill(row.status, row.status === "suspended" ? "Blocked" : undefined)],
        ["Email", row.email], ["Phone", row.phone], ["Open logins", String(row.sessions)], ["Since", moment(row.createdAt)], ["Last seen", moment(row.lastActiveAt)],
      ],
      actions: [standing(row), ...pair(row)],
    }),
  });
