/** Why this driver: whom the match looked at, what each would have cost, and what came of it. */

import { el, kilometres } from "../../ui/dom.mjs";
import { count, pill, plain, span } from "../words.mjs";
import { clock } from "./player.mjs";

/** In few words what dispatch/why.py and dispatch/eligibility.py say. */
const REASONS = /** @type {Record<string, string>} */ ({
  farther: "Costs more", lost: "Needed more by another job", too_far: "Would come too late", worth_more: "Something nearer comes sooner", requester: "Asked for it himself",
  excluded: "Was asked before", passed: "Did not see the offer", blocked: "Kept apart from the requester", class: "Does not serve this class",
  papers: "A paper has expired or is missing", seats: "Too few seats", size: "Not of this size", weight: "Too much weight", offline: "Not online",
  stale: "Silent for too long", offered: "Thinking about another offer", full: "No room",
});
const PATHS = /** @type {Record<string, string>} */ ({ nearest: "matched at once", batch: "matched in a batch", rematch: "matched anew" });
const CAME = /** @type {Record<string, [string, string]>} */ ({
  accepted: ["active", "Asked, accepted"], declined: ["refused", "Asked, declined"], expired: ["stale", "Asked, no answer"], unseen: ["stale", "Asked, not seen"],
  withdrawn: ["", "Asked, taken back"], lost: ["", "Asked, taken back"], open: ["offered", "Asked"],
});

/**
 * @param {import("./film.mjs").Film} film
 * @param {number} atMs
 * @param {(atMs: number) => void} go
 * @returns {any[]}
 */
export function why(film, atMs, go) {
  const at = film.decided(atMs);
  const head = el("h2", { text: "Why this driver" });
  const steps = film.decisions.length > 1 && el("div", { class: "choices", role: "group", "aria-label": "Decisions" }, ...film.decisions.map((each, n) =>
    el("button", { type: "button", class: "choice", "aria-pressed": String(n === at), onclick: () => go(each.atMs) },
      el("span", { class: "number soft", text: clock(each.atMs) }), each.driverId ? film.name(each.driverId) : "Nobody")));
  if (at < 0) {
    const none = film.decisions.length ? "Nothing was decided yet at this moment." : "No decision is kept of it: it was assigned by hand, or it is too long ago.";
    return [el("header", {}, head, steps), el("p", { class: "soft none", text: none })];
  }
  const it = film.decisions[at];
  const tried = it.shadow !== null;
  const about = [
    it.driverId ? `${film.name(it.driverId)} was asked` : "Nobody could be asked",
    PATHS[it.path] ?? plain(it.path), `policy ${it.policy}`,
    ...(it.more ? [`${count(it.more)} more were looked at`] : []),
    ...(tried ? [`policy ${it.shadow.policy}, tried in shadow, would have asked ${it.shadow.driverId === null ? "nobody" : it.shadow.driverId === it.driverId ? "the same" : film.name(it.shadow.driverId)}`] : []),
  ].join(" · ");
  const heads = ["Rank", "Driver", "Away", "ETA", "Cost", ...(tried ? ["Tried"] : []), "What came of it"];
  const lines = it.considered.map((/** @type {any} */ one) => {
    const chosen = one.driverId === it.driverId;
    const [mood, text] = CAME[it.offer?.state] ?? CAME.open;
    const cells = [
      ["Away", kilometres(one.distanceM), "number right"], ["ETA", span(one.etaSeconds), "number right"], ["Cost", `${count(one.costSeconds)} s`, "number right"],
      ...(tried ? [["Tried", one.shadowCostSeconds === null ? "–" : `${count(one.shadowCostSeconds)} s`, "number right"]] : []),
      ["What came of it", chosen ? pill(mood, text) : REASONS[one.reason] ?? plain(one.reason), chosen ? "" : "soft"],
    ];
    return el("tr", { class: chosen ? "chosen" : "", "data-driver": one.driverId, "aria-current": chosen ? "true" : null },
      el("td", { class: "number rank", "data-title": "Rank", text: String(one.rank) }),
      el("th", { scope: "row" }, el("a", { href: `/console/drivers?q=${one.driverId}`, text: one.name || one.driverId.slice(-8) })),
      ...cells.map(([title, content, kind]) => el("td", { class: kind, "data-title": title }, content)));
  });
  const table = el("table", {}, el("caption", { class: "unseen", text: "Whom the match looked at" }),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", class: ["Away", "ETA", "Cost", "Tried"].includes(text) ? "right" : "", text })))), el("tbody", {}, ...lines));
  return [el("header", {}, head, steps), el("p", { class: "soft about", text: about }), lines.length ? table : el("p", { class: "soft none", text: "Nobody was near." })];
}
