/** Rides and parcels: the same table of two kinds of job, with what an administrator may do by hand. */

import { el, kilometres, money } from "../ui/dom.mjs";
import { api } from "./api.mjs";
import { areaFilter, open as openTable } from "./table.mjs";
import { ago, id, moment, person, pill, plain } from "./words.mjs";

const PARCEL = "parcel";
const MOST = 200; // drivers of a state that are offered to choose from; the others are searched for
const UNASSIGNED = ["searching", "offered"];
const BEFORE_PICKUP = ["assigned", "arrived", "arrived_pickup"];
const CANCELLED = { ride: ["scheduled", "searching", "offered", "assigned", "arrived", "in_progress"], package: ["scheduled", "searching", "offered", "assigned", "arrived_pickup"] };

/** Where an administrator may bring a job, from a state: the status and what its button says. */
const ENDS = {
  ride: /** @type {Record<string, [string, string][]>} */ ({ in_progress: [["completed", "Complete"]] }),
  package: /** @type {Record<string, [string, string][]>} */ ({
    picked_up: [["failed", "Mark as failed"]],
    arrived_dropoff: [["delivered", "Complete"], ["failed", "Mark as failed"]],
    failed: [["returning", "Send back"]],
    returning: [["returned", "Mark as returned"]],
  }),
};

/**
 * @param {HTMLElement} root
 * @param {"ride" | "package"} kind
 * @param {string} title
 * @param {string[]} states
 */
export const open = async (root, kind, title, states) =>
  openTable(root, {
    title,
    lead: "As the history knows them, a moment behind what is live; the newest first.",
    path: `/api/admin/${kind}s`,
    searched: "Id, name or address",
    filters: [
      { name: "status", title: "State", options: [["", "Any state"], ...states.map((state) => /** @type {[string, string]} */ ([state, plain(state)]))] },
      { name: "held", title: "Waiting for a person", options: [["", "Held or not"], ["yes", "Held for a person"]] },
      await areaFilter(),
    ],
    columns: [
      { title: kind === "ride" ? "Passenger" : "Sender", cell: (row) => row.requester.name },
      { title: "State", cell: (row) => el("span", { class: "pills" }, pill(row.state), row.needsPerson && pill("paused", "Held")) },
      { title: kind === "ride" ? "Driver" : "Courier", cell: (row) => row.driver?.name ?? "" },
      { title: "From", cell: (row) => row.pickup, class: "long" },
      { title: "To", cell: (row) => row.dropoff, class: "long" },
      { title: "Fare", cell: (row) => money(row.fare), class: "number right" },
      { title: "Asked for", cell: (row) => ago(row.createdAt) },
    ],
    empty: "There are none yet.",
    story: (row) => ({
      title: `${kind === "ride" ? "Ride" : "Parcel"} of ${row.requester.name}`,
      facts: [
        ["Id", id(row.id)], ["State", pill(row.state)], ["Waits for a person", row.needsPerson && plain(row.needsPerson)],
        [kind === "ride" ? "Passenger" : "Sender", person(row.requester)], [kind === "ride" ? "Driver" : "Courier", person(row.driver)],
        ["From", row.pickup], ["To", row.dropoff], ["Distance", kilometres(row.distanceM)], [kind === "ride" ? "Class" : "Tier", plain(row.class)],
        ["Fare", money(row.fare)], ["Area", row.areaId], ["Offers made", String(row.offers)], ["Asked for", moment(row.createdAt)],
        ["For", moment(row.scheduledAt)], ["Assigned", moment(row.assignedAt)], ["Ended", moment(row.endedAt)], ["Reason", row.reason],
      ],
      more: el("p", { class: "small links" },
        el("a", { href: `/console/replay?job=${row.id}&kind=${kind}`, text: row.endedAt ? "Replay it" : "Replay it so far" }),
        el("a", { href: `/console/audit?q=${row.id}`, text: "What was done to it by hand" })),
      actions: actions(kind, row),
    }),
  });

/** Who could take it, as far as history knows; the server has the last word.
 * @param {any} field   the select
 * @param {string} wanted   the class
 * @param {string} q   of his name or vehicle */
async function free(field, wanted, q) {
  const states = wanted === PARCEL ? ["idle", "busy", "offered"] : ["idle", "offered"];
  const pages = await Promise.all(states.map((state) => api.get("/api/admin/drivers", { state, q, class: wanted, limit: MOST })));
  if (field.dataset.q !== q) return; // something else is looked for by now
  const drivers = pages.flatMap((page) => page.data);
  const more = pages.some((page) => page.pagination.hasMore);
  const none = !drivers.length ? "Nobody who is online can take it" : more ? "Choose a driver, or search for others" : "Choose a driver";
  field.replaceChildren(el("option", { value: "", text: none }), ...drivers.map((driver) => el("option", { value: driver.id, text: [driver.name, driver.vehicle, plain(driver.state)].filter(Boolean).join(" · ") })));
}

/** @param {"ride" | "package"} kind
 * @param {any} row
 * @returns {import("./ask.mjs").Action[]} */
function actions(kind, row) {
  const ref = { [kind === "ride" ? "rideId" : "packageId"]: row.id };
  const it = kind === "ride" ? "ride" : "parcel";
  const found = /** @type {import("./ask.mjs").Action[]} */ ([]);
  if (row.needsPerson) found.push({ name: "Let it go on", event: "lift_hold", body: ref, about: `It stopped because: ${row.needsPerson}. It goes on as it stands.`, done: () => `The ${it} goes on.` });
  if (UNASSIGNED.includes(row.state)) {
    found.push({
      name: "Assign by hand", event: "assign_job", body: ref, about: "To a driver who is online and free. An open offer to somebody else is taken back.",
      more: (form) => {
        const field = el("select", { id: "driverId", required: true });
        const search = el("input", { type: "search", id: "driverQ", maxlength: "100", placeholder: "Name or vehicle" });
        const look = () => {
          field.dataset.q = search.value.trim();
          field.setCustomValidity("");
          free(field, kind === "ride" ? row.class : PARCEL, field.dataset.q).catch((error) => field.setCustomValidity(error.message));
        };
        search.addEventListener("input", look);
        form.append(el("label", { class: "field" }, el("span", { text: "Search" }), search), el("label", { class: "field" }, el("span", { text: "Driver" }), field));
        look();
        return () => ({ driverId: field.value });
      },
      done: () => `The ${it} is assigned.`,
    });
  }
  if (BEFORE_PICKUP.includes(row.state)) found.push({ name: "Unassign", event: "unassign_job", body: ref, about: `${row.driver?.name ?? "The driver"} is free again; the ${it} searches on without him.`, done: () => `The ${it} searches on.` });
  for (const [status, name] of ENDS[kind][row.state] ?? []) {
    found.push({ name, event: `${kind}_status_update`, body: { ...ref, status }, about: "No code is asked for: make sure that it is so.", done: (answer) => `The ${it} is ${plain(answer.state).toLowerCase()}.` });
  }
  if (CANCELLED[kind].includes(row.state)) found.push({ name: "Cancel", title: `Cancel this ${it}?`, yes: `Cancel ${it}`, no: "Keep it", grave: true, event: `cancel_${kind}`, body: ref, about: "It ends for everybody on it, and they are told the reason.", done: () => `The ${it} is cancelled.` });
  return found;
}
