/** What was asked for, served and earned, and how long a driver took to be found: by hour and area. */

import { el, say } from "../../ui/dom.mjs";
import { api } from "../api.mjs";
import { chart } from "../chart.mjs";
import { count, span } from "../words.mjs";

export const title = "Figures";
const SPANS = [["24", "Last 24 hours"], ["72", "Last 3 days"], ["168", "Last 7 days"]];
const HOUR_MS = 3_600_000;

/** @param {number} amount
 * @param {string} currency */
const major = (amount, currency) => new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: 0 }).format(amount);

/** @param {number} requests */
const some = (requests) => `${count(requests)} ${requests === 1 ? "request" : "requests"}`;

/** @param {HTMLElement} root */
export async function open(root) {
  const period = el("select", { "aria-label": "Period" }, ...SPANS.map(([value, text]) => el("option", { value, text })));
  const area = el("select", { "aria-label": "Area" });
  const charts = el("div", { class: "charts" });
  const note = el("p", { class: "note soft", role: "status" });
  root.append(
    el("header", { class: "head" }, el("div", {}, el("h1", { text: title }), el("p", { class: "soft", text: "Rides and parcels, by the hour in which they were asked for." }))),
    el("div", { class: "tools" }, period, area), note, charts,
  );
  /** @type {any[]} */
  let rows = [];
  let since = new Date();

  function draw() {
    const wanted = rows.filter((row) => !area.value || row.areaId === area.value);
    const hours = Array.from({ length: Number(period.value) }, (_, at) => new Date(since.getTime() + at * HOUR_MS));
    const at = (/** @type {any} */ row) => Math.round((Date.parse(row.hour) - since.getTime()) / HOUR_MS);
    const sums = (/** @type {(row: any) => number} */ of, of_rows = wanted) => {
      const values = hours.map(() => 0);
      for (const row of of_rows) values[at(row)] += of(row);
      return values;
    };
    const total = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0);
    const requests = sums((row) => row.requests), served = sums((row) => row.served), unserved = sums((row) => row.unserved), ended = sums((row) => row.ended);
    const assigned = sums((row) => row.assigned), waited = sums((row) => row.waitS * row.assigned);
    const waits = waited.map((seconds, hour) => (assigned[hour] ? seconds / assigned[hour] : null));
    const share = total(ended) ? ` · of the ${count(total(ended))} that are over, ${Math.round((100 * total(served)) / total(ended))} % were served` : "";
    const format = (/** @type {number} */ n) => count(n);
    charts.replaceChildren(
      chart({ title: "Requests", hours, format, total: `${some(total(requests))}${share}`, series: [{ name: "Requests", class: "two", values: requests }, { name: "Served", class: "one", values: served }] }),
      chart({ title: "Nobody was found", hours, format, total: some(total(unserved)), series: [{ name: "Nobody was found", class: "three", values: unserved }] }),
      chart({ title: "Until a driver had it", hours, format: span, line: true, total: total(assigned) ? `${span(total(waited) / total(assigned))} on average` : "–", series: [{ name: "Wait", class: "one", values: waits }] }),
      ...[...new Set(wanted.map((row) => row.currency))].map((currency) => {
        const earned = sums((row) => row.earnings, wanted.filter((row) => row.currency === currency));
        return chart({ title: `Earnings in ${currency}`, hours, format: (n) => major(n, currency), total: major(total(earned), currency), series: [{ name: "Earnings", class: "one", values: earned }] });
      }),
      byArea(wanted),
    );
  }

  async function load() {
    try {
      const said = await api.get("/api/admin/figures", { hours: period.value });
      rows = said.data;
      since = new Date(said.since);
      const chosen = area.value;
      const areas = [...new Set(rows.map((row) => row.areaId))].sort();
      area.replaceChildren(el("option", { value: "", text: "All areas" }), ...areas.map((name) => el("option", { value: name, text: name })));
      area.value = areas.includes(chosen) ? chosen : "";
      say(note, rows.length ? "" : "Nothing was asked for in this time.");
      draw();
    } catch (error) {
      say(note, error.message);
    }
  }
  period.addEventListener("change", load);
  area.addEventListener("change", draw);
  await load();
}

/** @param {any[]} rows */
function byArea(rows) {
  const areas = [...new Set(rows.map((row) => row.areaId))].sort();
  const sum = (/** @type {any[]} */ of, /** @type {(row: any) => number} */ what) => of.reduce((total, row) => total + what(row), 0);
  const lines = areas.map((name) => {
    const its = rows.filter((row) => row.areaId === name);
    const requests = sum(its, (row) => row.requests), served = sum(its, (row) => row.served), ended = sum(its, (row) => row.ended), assigned = sum(its, (row) => row.assigned);
    const currencies = [...new Set(its.map((row) => row.currency))];
    const money = currencies.map((currency) => major(sum(its.filter((row) => row.currency === currency), (row) => row.earnings), currency)).join(", ");
    const cells = [["Requests", count(requests)], ["Served of those over", ended ? `${Math.round((100 * served) / ended)} %` : "–"], ["Wait", assigned ? span(sum(its, (row) => row.waitS * row.assigned) / assigned) : "–"], ["Earnings", money]];
    return el("tr", {}, el("th", { scope: "row", text: name }), ...cells.map(([title, text]) => el("td", { class: "number right", "data-title": title, text })));
  });
  const heads = ["Area", "Requests", "Served of those over", "Wait", "Earnings"].map((text, at) => el("th", { scope: "col", class: at ? "right" : "", text }));
  return el("div", { class: "card whole" }, el("table", {}, el("caption", { class: "unseen", text: "By area" }), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...lines)));
}
