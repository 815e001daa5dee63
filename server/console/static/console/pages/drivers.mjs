/** Drivers and couriers as dispatch left them. */

import { past } from "../past.mjs";
import { areaFilter, open as openTable } from "../table.mjs";
import { ago, id, moment, pill, plain } from "../words.mjs";
import { standing } from "./users.mjs";

export const title = "Drivers";

/** @param {HTMLElement} root */
export const open = async (root) =>
  openTable(root, {
    title,
    lead: "Drivers and couriers who have ever been online; who changed last comes first.",
    path: "/api/admin/drivers",
    searched: "Name, plate, vehicle or id",
    filters: [{ name: "state", title: "State", options: [["", "Any state"], ...["idle", "offered", "busy", "stale", "offline"].map((word) => /** @type {[string, string]} */ ([word, plain(word)]))] }, await areaFilter()],
    columns: [
      { title: "Name", cell: (row) => row.name },
      { title: "State", cell: (row) => pill(row.state) },
      { title: "Vehicle", cell: (row) => row.vehicle, class: "long" },
      { title: "Serves", cell: (row) => row.classes.map(plain).join(", ") },
      { title: "Carries", cell: (row) => String(row.jobIds.length), class: "number right" },
      { title: "Changed", cell: (row) => ago(row.changedAt) },
    ],
    empty: "Nobody has been online yet.",
    story: (row) => ({
      title: row.name || "A driver",
      facts: [
        ["Id", id(row.id)], ["State", pill(row.state)], ["Account", pill(row.account ?? "active")], ["Vehicle", row.vehicle], ["Serves", row.classes.map(plain).join(", ")],
        ["Capacity", String(row.capacity)], ["Area", row.areaId], ["Email", row.email], ["Phone", row.phone], ["Changed", moment(row.changedAt)],
        ...row.jobIds.map((/** @type {string} */ job) => ["Carries", id(job)]),
      ],
      more: past(row.id),
      actions: row.account ? [standing({ ...row, status: row.account })] : [],
    }),
  });
