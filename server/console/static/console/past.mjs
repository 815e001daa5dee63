/** What a driver has done of late: what he earned today, and his last jobs, each with the way to its replay. */

import { el, money } from "../ui/dom.mjs";
import { api } from "./api.mjs";
import { ago, count, pill } from "./words.mjs";

/** An element that fills itself. @param {string} driverId
 * @returns {HTMLElement} */
export function past(driverId) {
  const root = el("section", { class: "past", "aria-label": "What he has done" });
  const fill = async () => {
    const { data } = await api.get(`/api/admin/drivers/${driverId}`, { hours: new Date().getHours() + 1 });
    const sums = data.earned.map((/** @type {any} */ one) => `${money(one.fare)} with ${count(one.jobs)} ${one.jobs === 1 ? "job" : "jobs"}`);
    root.replaceChildren(
      el("h3", { text: "Earned today" }), el("p", { class: "number", text: sums.join(", ") || "Nothing yet" }),
      el("h3", { text: "Last jobs" }),
      data.jobs.length === 0 ? el("p", { class: "soft", text: "None is over yet." }) : el("ol", {}, ...data.jobs.map((/** @type {any} */ job) => el("li", {},
        el("a", { href: `/console/replay?job=${job.id}&kind=${job.kind}`, text: `${job.pickup || "A place"} to ${job.dropoff || "a place"}` }),
        el("span", { class: "row small soft" }, pill(job.state), el("span", { class: "number", text: money(job.fare) }), ago(job.endedAt))))),
    );
  };
  fill().catch((error) => root.replaceChildren(el("p", { class: "refused", text: `His past cannot be read: ${error.message}` })));
  return root;
}
