/** Any job as it went, on a slider over its time: where the car was, what was offered and said, and why this driver. */

import { el, kilometres, money, say } from "../../ui/dom.mjs";
import { CityMap } from "../../ui/map.mjs";
import { api } from "../api.mjs";
import { Film, lastAt } from "../replay/film.mjs";
import { clock, player } from "../replay/player.mjs";
import { why } from "../replay/why.mjs";
import { open as openTable } from "../table.mjs";
import { ago, moment, person, pill, plain, span } from "../words.mjs";

export const title = "Trip replay";

/** @param {HTMLElement} root */
export async function open(root) {
  const address = new URLSearchParams(location.search);
  const job = address.get("job");
  return job ? watch(root, job, address.get("kind") === "package" ? "package" : "ride") : choose(root);
}

/** @param {HTMLElement} root */
const choose = (root) =>
  openTable(root, {
    title,
    lead: "Choose a job that is over, and see how it went; what was asked for last comes first.",
    path: "/api/admin/rides",
    asks: ({ kind, ...query }) => [`/api/admin/${kind || "ride"}s`, { ...query, status: query.status || "ended" }],
    searched: "Id, name or address",
    filters: [
      { name: "kind", title: "Kind", options: [["", "Rides"], ["package", "Parcels"]] },
      { name: "status", title: "How it ended", options: [["", "However it ended"], ["completed", "Completed"], ["cancelled", "Cancelled"]] },
    ],
    columns: [
      { title: "From and to", cell: (row) => `${row.pickup || "A place"} to ${row.dropoff || "a place"}` },
      { title: "State", cell: (row) => pill(row.state) },
      { title: "Requester", cell: (row) => row.requester.name },
      { title: "Driver", cell: (row) => row.driver?.name ?? "" },
      { title: "Took", cell: (row) => (row.endedAt ? span((Date.parse(row.endedAt) - Date.parse(row.createdAt)) / 1000) : ""), class: "number right" },
      { title: "Asked for", cell: (row) => ago(row.createdAt) },
    ],
    empty: "Nothing is over yet.",
    link: (row) => `/console/replay?job=${row.id}&kind=${new URLSearchParams(location.search).get("kind") || "ride"}`,
  });

/** @param {string} job
 * @param {string} kind */
async function load(job, kind) {
  const [table, whole, decisions] = await Promise.all([
    api.get(`/api/admin/${kind}s`, { q: job }), api.get(`/api/${kind}s/${encodeURIComponent(job)}`), api.get(`/api/admin/jobs/${encodeURIComponent(job)}/decisions`, { limit: 200 }),
  ]);
  return new Film(table.data[0], whole.data, decisions.data, Date.now());
}

/** @param {HTMLElement} root
 * @param {string} job
 * @param {"ride" | "package"} kind */
async function watch(root, job, kind) {
  const back = el("a", { class: "button small", href: kind === "ride" ? "/console/replay" : "/console/replay?kind=package", text: "Another job" });
  const lead = el("p", { class: "soft", role: "status", text: "Loading…" });
  root.append(el("header", { class: "head" }, el("div", {}, el("h1", { text: title }), lead), back));
  /** @type {Film} */
  let film;
  try {
    film = await load(job, kind);
  } catch (error) {
    say(lead, error.message);
    return;
  }
  const { row } = film;
  say(lead, `${kind === "ride" ? "Ride" : "Parcel"} of ${row.requester.name}, ${moment(row.createdAt)}`);
  const ground = el("div", { class: "ground card", role: "application", "aria-label": "Map of the trip; where the car is stands beside it" });
  const now = el("dl", {});
  const chat = el("ol", { class: "chat" });
  const reasons = el("section", { class: "card why", "aria-label": "Why this driver" });
  const marks = film.marks.map((mark) => el("li", { class: mark.kind },
    el("button", { type: "button", onclick: () => play.go(mark.atMs) }, el("time", { class: "number soft", text: clock(mark.atMs) }), el("span", { text: mark.title }))));
  const happened = film.marks.map((mark, at) => ({ mark, line: marks[at] })).filter(({ mark }) => mark.kind !== "chat").map(({ line }) => line);
  const play = player(film, show);
  root.append(el("div", { class: "replay" },
    el("div", { class: "scene" }, ground, play.root, reasons),
    el("div", { class: "beside" },
      el("section", { class: "card moment", "aria-label": "At this moment" }, el("h2", { text: "At this moment" }), now),
      el("section", { class: "card events", "aria-label": "What happened" }, el("h2", { text: "What happened" }), el("ol", {}, ...happened)),
      el("section", { class: "card talk", "aria-label": "Chat" }, el("h2", { text: "Chat" }), chat))));

  const map = new CityMap(ground);
  const way = film.fixes.map(({ lat, lng }) => /** @type {[number, number]} */ ([lat, lng]));
  /** What each part shows, so that only what is another is drawn anew. @type {Record<string, string>} */
  const shown = {};
  /** @param {string} part
   * @param {string} what
   * @param {() => void} draw */
  const once = (part, what, draw) => {
    if (shown[part] === what) return;
    shown[part] = what;
    draw();
  };

  /** @param {number} atMs */
  function show(atMs) {
    const car = film.car(atMs), standing = film.standing(atMs), decided = film.decided(atMs);
    const asked = standing.state === "offered" && decided >= 0 ? film.decisions[decided].driverId : null;
    if (loaded) {
      map.vehicle("car", car?.point, { kind: kind === "ride" ? "car" : "courier", heading: car?.heading, own: true, still: true });
      map.way("driven", car ? [...way.slice(0, car.behind + 1), [car.point.latitude, car.point.longitude]] : null, "ahead");
    }
    const facts = /** @type {[string, any][]} */ ([
      ["State", pill(standing.state)],
      [kind === "ride" ? "Driver" : "Courier", standing.driverId ? person({ id: standing.driverId, name: film.name(standing.driverId) }) : asked ? `${film.name(asked)} is asked` : "Nobody yet"],
      ["For", span(Math.max(0, atMs - standing.atMs) / 1000)],
      ["Driven", car ? kilometres(car.metres) : "–"],
      ["From", row.pickup], ["To", row.dropoff], [kind === "ride" ? "Class" : "Tier", plain(row.class)], ["Fare", money(row.fare)],
    ]);
    once("now", facts.map(([, value]) => value?.textContent ?? value).join("\n"), () => {
      now.replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", {}, value)]));
    });
    const lines = film.lines.slice(0, lastAt(film.lines, atMs) + 1);
    once("chat", String(lines.length), () => {
      const none = film.lines.length ? "Nothing was said yet." : "Nothing was said.";
      chat.replaceChildren(...(lines.length ? lines.map((line) => el("li", { class: line.own ? "own" : "" }, el("p", { text: line.text }), el("span", { class: "soft small", text: `${line.who}, ${clock(line.atMs)}` }))) : [el("li", { class: "soft none", text: none })]));
    });
    once("why", String(decided), () => {
      const held = reasons.contains(document.activeElement);
      reasons.replaceChildren(...why(film, atMs, play.go));
      if (held) reasons.querySelector("[aria-pressed=true]")?.focus();
    });
    const reached = lastAt(film.marks, atMs);
    once("marks", String(reached), () => marks.forEach((line, at) => {
      line.classList.toggle("ahead", at > reached);
    }));
    return plain(standing.state);
  }

  let loaded = false, over = false;
  play.go(film.startMs);
  map.load(api.login?.token ?? "").then(() => {
    if (over) return;
    loaded = true;
    ground.append(el("p", { class: "credit small soft", text: map.attribution }));
    map.pin("pickup", film.ends[0], "pickup");
    map.pin("dropoff", film.ends[1], "dropoff");
    map.way("whole", way.length ? way : film.ends.map(({ latitude, longitude }) => [latitude, longitude]), way.length ? "route" : "plan");
    map.look([...film.ends, ...film.fixes.map(({ lat, lng }) => ({ latitude: lat, longitude: lng }))], true);
    play.again();
  }, (error) => say(lead, error.message));
  return () => {
    over = true;
    play.close();
    map.close();
  };
}
