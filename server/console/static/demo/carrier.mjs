/**
 * The driver's and the courier's page: a shift, offers, and a job from its pickup to its proof. The vehicle is driven by
 * the mouse, by the arrow keys, or by itself (autopilot.mjs).
 */

import { byId, el, initials, kilometres, minutes, money, say, show } from "../ui/dom.mjs";
import { at, pointOf } from "../ui/map.mjs";
import { metres } from "../ui/streets.mjs";
import { Autopilot } from "./autopilot.mjs";
import { attempt, enter, stages } from "./enter.mjs";
import { chat, stars } from "./talk.mjs";
import { Wheel } from "./wheel.mjs";
import { NEXT, STAGES, forCarrier, hasCode, stage } from "./words.mjs";

/** @typedef {import("../client/aryv-client.mjs").Job} Job */
/** @typedef {import("../client/aryv-client.mjs").Offer} Offer */

const page = location.pathname.endsWith("/courier") ? "courier" : "driver";
const kind = page === "courier" ? "package" : "ride";
const CLASSES = page === "courier" ? ["parcel"] : ["economy", "comfort", "premium", "shared"];
const KEY = `aryv.demo.${page}.shift`;
const FIX_MS = 1_000;
const STEP_M = 40; // of an arrow key
const AWAY_M = 230;
const METRES_PER_DEGREE = 111_195;
/** What else a carrier may do with a job. @type {Record<string, {to: string, label: string, reason?: string}>} */
const INSTEAD = {
  assigned: { to: "searching", label: "Give it back" },
  arrived: { to: "searching", label: "Give it back" },
  arrived_pickup: { to: "searching", label: "Give it back" },
  picked_up: { to: "failed", label: "Cannot deliver", reason: "Nobody opened." },
  arrived_dropoff: { to: "failed", label: "Nobody opens", reason: "Nobody opened." },
  failed: { to: "returning", label: "Bring it back", reason: "Nobody opened." },
};

document.title = `${page === "courier" ? "Courier" : "Driver"} · ARYV demo`;
say(byId("title"), page === "courier" ? "Courier" : "Driver");

const { aryv, map, person } = await enter(page, page);
say(byId("role"), person.user.vehicle ?? page);

// -- the vehicle

const saved = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
const wheel = new Wheel(saved?.here ?? somewhere(), moved);
/** @type {any} */
let car = null;

/** A corner or two from where most trips begin. */
function somewhere() {
  const middle = map.middle()?.point ?? pointOf(map.leaflet.getCenter());
  const turn = Math.random() * 2 * Math.PI;
  const aside = [Math.cos(turn), Math.sin(turn) * 1.5].map((part) => (part * AWAY_M) / METRES_PER_DEGREE);
  const there = /** @type {[number, number]} */ ([middle.latitude + aside[0], middle.longitude + aside[1]]);
  return map.streets.way(there, at(middle))[1] ?? there;
}

function moved() {
  const [latitude, longitude] = wheel.here;
  car = map.vehicle("own", { latitude, longitude }, { kind: page === "courier" ? "courier" : "car", heading: wheel.heading, own: true, still: true, options: { interactive: true, draggable: true, alt: "Your vehicle" } });
  map.way("ahead", wheel.drives ? [wheel.here, ...wheel.ahead] : null, "ahead");
}

moved();
car.on("drag", () => wheel.put(at(pointOf(car.getLatLng()))));
map.leaflet.on("click", (/** @type {any} */ event) => driveTo(at(pointOf(event.latlng))));
map.leaflet.keyboard.disable();
byId("map").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  const to = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
  if (!to) return;
  event.preventDefault();
  const [lat, lng] = wheel.here;
  const step = STEP_M / METRES_PER_DEGREE;
  wheel.put([lat + to[0] * step, lng + (to[1] * step) / Math.cos((lat * Math.PI) / 180)]);
});

/** @param {import("../ui/streets.mjs").LatLng} to
 * @param {() => void} [arrived] */
function driveTo(to, arrived) {
  wheel.drive(map.streets.way(wheel.here, to), arrived);
}

function place() {
  return { latitude: Number(wheel.here[0].toFixed(6)), longitude: Number(wheel.here[1].toFixed(6)) };
}

setInterval(() => {
  if (!aryv.shift) return;
  aryv.fix({ ...place(), heading: Math.round(wheel.heading), speed: wheel.drives ? wheel.speedMps : 0, accuracy: 5 });
  sessionStorage.setItem(KEY, JSON.stringify({ here: wheel.here, online: true, self: pilot.on }));
}, FIX_MS);

const speed = byId("speed");
const drawSpeed = () => {
  wheel.speedMps = Number(speed.value) / 3.6;
  say(byId("kmh"), `${speed.value} km/h`);
};
speed.addEventListener("input", drawSpeed);
drawSpeed();

// -- the shift

const online = () => attempt(() => aryv.goOnline({ classes: CLASSES, offerSeen: true }, place()));
byId("online").addEventListener("click", () => {
  if (!aryv.shift) return online();
  sessionStorage.removeItem(KEY);
  return attempt(() => aryv.goOffline());
});
aryv.on("fact", ({ event, payload }) => event === "notification" && payload.type === "job_taken_over" && refuse(`${payload.title}. ${payload.message}`));
aryv.on("superseded", () => say(byId("line2"), "Another window drives for you now."));

// -- offers and jobs

/** Jobs that were looked at after their end. */
const put_away = new Set();
const talk = chat(aryv, kind === "ride" ? "passenger" : "sender");
const rating = stars(aryv);
byId("talk").replaceWith(talk.element);
byId("stars").replaceWith(rating.element);

/** @returns {Job | undefined} */
function current() {
  const mine = [...aryv.jobs.values()].filter((job) => job.driver?.id === aryv.userId && !put_away.has(job.id));
  const going = mine.filter((job) => !job.over);
  // who is on board comes first: another ride may be taken before this one is over
  return going.find((job) => job.state === "in_progress") ?? going.at(-1) ?? mine.findLast((job) => job.over);
}

/** @returns {Offer | undefined} */
const open = () => [...aryv.offers.values()].find((offer) => !offer.answered);

/** @param {Job} job */
const target = (job) => {
  const where = NEXT[job.kind][job.state]?.place ?? (stage(job) === 2 ? "dropoff" : "pickup");
  return job[where];
};

/**
 * The next step of a job, with the code that it may need.
 * @param {Job} job
 * @param {string} code
 */
async function step(job, code) {
  const next = NEXT[job.kind][job.state];
  if (!next) return;
  const proof = next.code === "otp" ? { otp: code } : { proof: { code } };
  await aryv.move(job.id, next.to, next.code && code ? proof : {});
}

const pilot = new Autopilot({
  aryv, wheel, driveTo, current, open, target,
  step: (/** @type {Job} */ job, /** @type {string} */ code) => attempt(() => step(job, code)),
  done: (/** @type {Job} */ job) => put_away.add(job.id) && draw(),
});
const self = byId("self");
self.addEventListener("change", () => {
  pilot.on = self.checked;
  if (!pilot.on) wheel.stop();
});

byId("step").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  const job = current();
  if (!job) return;
  const [whose, code] = [hasCode(job), byId("code").value.trim()];
  refuse(whose && !code ? `Ask the ${whose} for the code, and type it here.` : "");
  if (whose && !code) return byId("code").focus();
  byId("next").disabled = true;
  try {
    await step(job, code);
    byId("code").value = "";
  } catch (error) {
    refuse(error.message);
  } finally {
    byId("next").disabled = false;
  }
});
byId("way").addEventListener("click", () => {
  const to = current() && target(/** @type {Job} */ (current()));
  if (to && metres(wheel.ahead.at(-1) ?? wheel.here, at(to)) > 1) driveTo(at(to)); // who is on his way there goes on
});
byId("giveBack").addEventListener("click", () => {
  const job = current();
  const other = job && INSTEAD[job.state];
  if (job && other) attempt(() => aryv.move(job.id, other.to, other.reason ? { reason: other.reason } : {}));
});
byId("done").addEventListener("click", () => {
  const job = current();
  if (job) put_away.add(job.id);
  draw();
});

/** @param {string} text */
function refuse(text) {
  say(byId("refused"), text);
  show(byId("refused"), text !== "");
  byId("refused").scrollIntoView({ block: "nearest" });
}

function draw() {
  const [job, offer] = [current(), open()];
  drawShift(job);
  drawOffer(offer);
  show(byId("live"), Boolean(job));
  if (job) drawJob(job);
  const ahead = job && !job.over ? job : offer?.job;
  map.pin("pickup", ahead?.pickup, "pickup");
  map.pin("dropoff", ahead?.dropoff, "dropoff");
  map.way("plan", ahead ? map.streets.way(at(ahead.pickup), at(ahead.dropoff)) : null, "plan");
  const scene = `${ahead?.rideId ?? ahead?.packageId ?? ahead?.id ?? ""} ${job ? stage(job) : ""}`;
  if (ahead && scene !== seen) map.look([place(), ahead.pickup, ahead.dropoff], true);
  seen = scene;
}

let seen = "";
let done = 0;

/** @param {Job | undefined} job */
function drawShift(job) {
  const finished = [...aryv.jobs.values()].filter((each) => each.status === "completed" && each.driver?.id === aryv.userId);
  done = Math.max(done, finished.length);
  const earned = finished.reduce((sum, each) => sum + (each.fare?.amount ?? 0), 0);
  const sum = finished.length > 0 ? `${done} done · ${money({ amount: earned, currency: finished[0].fare?.currency ?? "USD" })}` : "";
  const busy = job && !job.over;
  const [line, line2] = busy ? forCarrier(job) : aryv.shift ? ["Waiting for work", sum || "The next offer comes by itself."] : ["You are offline", sum || "Go online to be offered work."];
  say(byId("line"), line);
  say(byId("line2"), line2);
  byId("online").className = aryv.shift ? "button wide" : "button main wide";
  say(byId("online"), aryv.shift ? "Go offline" : "Go online");
  show(byId("online"), !busy);
}

/** @param {Offer | undefined} offer */
function drawOffer(offer) {
  const box = byId("offer");
  show(box, Boolean(offer));
  if (!offer) return;
  if (box.dataset.of !== offer.offerId) {
    box.dataset.of = offer.offerId;
    const accept = el("button", { class: "button main", type: "button", text: "Accept", onclick: () => attempt(() => aryv.accept(offer.offerId)) });
    const decline = el("button", { class: "button", type: "button", text: "Decline", onclick: () => attempt(() => aryv.decline(offer.offerId)) });
    const from = offer.pickup.address || "a point on the map";
    const to = offer.dropoff.address || "a point on the map";
    box.replaceChildren(
      el("div", { class: "offer-head" }, el("h2", { text: kind === "ride" ? "A ride for you" : "A parcel for you" }), el("span", { class: "price number", text: money(offer.fare) })),
      el("p", { class: "soft number", text: `${kilometres(offer.distanceM)} to the pickup${offer.finishing ? " from where this ride ends" : ""}, ${minutes(offer.etaSeconds)} · the trip is ${kilometres(offer.job.distanceM)}` }),
      el("ol", { class: "ends" }, el("li", { text: from }), el("li", { text: to })),
      el("progress", { max: "1", value: "1", "aria-label": "Time to answer" }),
      el("div", { class: "pair" }, decline, accept),
    );
    accept.focus({ preventScroll: true });
    aryv.seen(offer.offerId).catch(() => {});
  }
}

setInterval(() => {
  const offer = open();
  const bar = byId("offer").querySelector("progress");
  if (offer && bar) bar.value = Math.max(0, (offer.untilMs - performance.now()) / offer.expiresInMs);
}, 100);

/** @param {Job} job */
function drawJob(job) {
  stages(byId("stages"), STAGES[job.kind], job.status === "completed" ? 4 : stage(job));
  const party = byId("party");
  const who = job.requester?.name ?? "";
  if (party.dataset.of !== job.id) {
    party.dataset.of = job.id;
    const about = job.kind === "ride" ? money(job.fare) : `${job.parcel?.size ?? ""} parcel for ${job.parcel?.recipient?.name ?? ""} · ${money(job.fare)}`;
    party.replaceChildren(
      el("span", { class: "face", "aria-hidden": "true", text: initials(who) }),
      el("span", { class: "words" }, el("strong", { text: who }), el("span", { class: "soft small number", text: about })),
    );
    refuse("");
  }
  const next = job.over ? undefined : NEXT[job.kind][job.state];
  show(byId("step"), Boolean(next));
  const whose = job.over ? "" : hasCode(job);
  show(byId("codeField"), whose !== "");
  say(byId("codeName"), `The code that the ${whose} tells you`);
  if (next) say(byId("next"), next.label);
  show(byId("way"), Boolean(next?.place));
  const other = job.over ? undefined : INSTEAD[job.state];
  show(byId("giveBack"), Boolean(other));
  if (other) say(byId("giveBack"), other.label);
  talk.update(job);
  rating.update(job);
  show(byId("done"), job.over);
}

aryv.on("change", draw);
draw();
if (saved?.online) {
  self.checked = pilot.on = Boolean(saved.self);
  const stop = aryv.on("change", () => {
    if (aryv.state !== "online") return;
    stop();
    online();
  });
}
