/** Rows that PostgreSQL refused: why, and what becomes of them. */

import { open as openTable } from "../table.mjs";
import { ago, id, json, moment, plain } from "../words.mjs";

export const title = "Dead letters";
const OUTCOMES = /** @type {Record<string, string>} */ ({
  written: "It is written.",
  refused: "It is refused still; the reason is brought up to date.",
  nothing: "Nothing was written: what stands there is newer, or somebody else's.",
});

/** @param {HTMLElement} root */
export const open = (root) =>
  openTable(root, {
    title,
    lead: "What the drain could not write into PostgreSQL, alone and with the reason. Nothing that people said is in them.",
    path: "/api/admin/letters",
    searched: "Reason or entry",
    filters: [
      { name: "target", title: "Table", options: [["", "Any table"], ...["rides", "packages", "offers", "drivers", "ride_events", "package_events", "chat_messages", "chat_reads", "locations", "entry"].map((word) => /** @type {[string, string]} */ ([word, plain(word)]))] },
      { name: "stream", title: "Stream", options: [["", "Any stream"], ["facts", "Facts"], ["fixes", "Fixes"], ["past", "Past fixes"]] },
    ],
    columns: [
      { title: "Table", cell: (row) => plain(row.target) },
      { title: "Reason", cell: (row) => row.reason, class: "long" },
      { title: "Code", cell: (row) => row.sqlstate, class: "number" },
      { title: "Stream", cell: (row) => plain(row.stream) },
      { title: "When", cell: (row) => ago(row.at) },
    ],
    empty: "None. Everything that happened is in the history.",
    story: (row) => ({
      title: `Refused by ${plain(row.target).toLowerCase()}`,
      facts: [["Id", id(row.id)], ["Reason", row.reason], ["SQLSTATE", row.sqlstate], ["Stream", plain(row.stream)], ["Entry", `${row.entryId}, item ${row.item}`], ["When", moment(row.at)]],
      more: json(shown(row.content)),
      actions: [
        ...(row.canRetry ? [{ name: "Try again", event: "retry_letter", body: { letterId: row.id }, about: "It is written now, if PostgreSQL takes it.", done: (/** @type {any} */ answer) => OUTCOMES[answer.outcome] }] : []),
        { name: "Discard", grave: true, event: "discard_letter", body: { letterId: row.id }, about: "The row is thrown away for good.", done: () => "It is gone." },
      ],
    }),
  });

/** @param {string} content */
function shown(content) {
  try {
    return JSON.parse(content);
  } catch {
    return content;
  }
}
