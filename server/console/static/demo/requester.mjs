/**
 * The passenger's and the sender's page: a trip is asked for, watched, talked about, proved and rated. All that it knows
 * of a job is in `aryv.jobs`, and each `change` draws it anew.
 */

import { byId, el, icon, initials, kilometres, minutes, money, say, show } from "../ui/dom.mjs";
import { at, pointOf } from "../ui/map.mjs";
import { attempt, enter, stages } from "./enter.mjs";
import { chat, stars } from "./talk.mjs";
import { STAGES, forRequester, stage } from "./words.mjs";

/** @typedef {import("../client/aryv-client.mjs").Job} Job */
/** @typedef {import("../client/aryv-client.mjs").Point} Point */

const page = location.pathname.endsWith("/sender") ? "sender" : "passenger";
const kind = page === "sender" ? "package" : "ride";
const QUOTE_AFTER_MS = 300;
const QUOTE_AGAIN_MS = 20_000;
const LOOK_EVERY_MS = 11_000; // the server answers every 10 s
const ON_MAP = "on-map";
const USUAL = kind === "ride" ? "economy" : "standard";
/** @type {Record<string, string>} */
const NAMES = {
  economy: "Economy", comfort: "Comfort", premium: "Premium", shared: "Shared",
  lightning: "Lightning", express: "Express", standard: "Standard",
};

document.title = `${page === "sender" ? "Sender" : "Passenger"} · ARYV demo`;
say(byId("title"), page === "sender" ? "Sender" : "Passenger");
say(byId("role"), page === "sender" ? "Sender" : "Passenger");
say(byId("ask"), page === "sender" ? "Send a parcel" : "Where to?");
show(byId("parcel"), kind === "package");

const { aryv, map } = await enter("passenger", page);

// -- asking

/** @type {{from: Point | null, to: Point | null}} */
const trip = { from: null, to: null };
/** @type {"from" | "to"} */
let aimed = "from";
/** @type {Record<string, any>[]} */
let quotes = [];
let quoting = 0;

for (const end of /** @type {("from" | "to")[]} */ (["from", "to"])) {
  const select = byId(end);
  select.append(el("option", { value: "", text: "Choose, or click the map" }));
  map.places.forEach(({ name }, number) => select.append(el("option", { value: String(number), text: name })));
  select.append(el("option", { value: ON_MAP, hidden: true }));
  select.addEventListener("focus", () => (aimed = end));
  select.addEventListener("change", () => {
    const place = map.places[Number(select.value)];
    if (select.value !== ON_MAP) choose(end, select.value === "" ? null : { ...place.point, address: place.name });
  });
  byId(`${end}Here`).append(icon("target"));
  byId(`${end}Here`).addEventListener("click", () => choose(end, here(map.leaflet.getCenter())));
}
map.leaflet.on("click", (/** @type {any} */ event) => form.hidden || choose(aimed, here(event.latlng)));

/** A point of the map, as people call it.
 * @param {{lat: number, lng: number}} latlng
 * @returns {Point} */
function here(latlng) {
  const point = pointOf(latlng);
  return { ...point, address: map.streets.address(at(point)) };
}

/**
 * @param {"from" | "to"} end
 * @param {Point | null} point
 */
function choose(end, point) {
  trip[end] = point;
  const select = byId(end);
  const named = map.places.findIndex(({ name }) => name === point?.address);
  select.querySelector(`[value="${ON_MAP}"]`).textContent = point?.address || "A point on the map";
  select.value = named >= 0 ? String(named) : point ? ON_MAP : "";
  aimed = end === "from" ? "to" : "from";
  drawPlan();
  if (trip.from && trip.to) map.look([trip.from, trip.to], true);
  quoteSoon();
}

function drawPlan() {
  map.pin("pickup", trip.from, "pickup");
  map.pin("dropoff", trip.to, "dropoff");
  map.way("plan", trip.from && trip.to ? map.streets.way(at(trip.from), at(trip.to)) : null, "plan");
}

function quoteSoon() {
  clearTimeout(quoting);
  refuse("");
  byId("request").disabled = true; // until it has the price of this trip
  quoting = setTimeout(quote, QUOTE_AFTER_MS);
}

async function quote() {
  const ready = trip.from && trip.to && !form.hidden;
  if (!ready) {
    quotes = [];
    return drawChoices();
  }
  const parcel = kind === "package" ? { size: byId("size").value, fragile: byId("fragile").checked } : {};
  try {
    const answer = await aryv.ask("quote", { kind, pickup: trip.from, dropoff: trip.to, ...parcel });
    if (quotes.length === 0) refuse(""); // it was the quote's; what was said of the request stays to be read
    quotes = answer.quotes;
  } catch (error) {
    if (error.code !== "offline" && error.code !== "no_answer") {
      quotes = [];
      refuse(error.message);
    }
  }
  drawChoices();
  quoting = setTimeout(quote, QUOTE_AGAIN_MS); // how near the nearest is changes by itself
}

/** Who is free around the pickup, while nothing is asked for yet. */
async function lookAround() {
  if (form.hidden || !trip.from) return drawNear([]);
  const { latitude, longitude } = trip.from;
  try {
    const look = { latitude, longitude, class: kind === "ride" ? "economy" : "parcel" };
    const { vehicles } = await aryv.ask("nearby", look);
    drawNear(form.hidden ? [] : vehicles);
  } catch {
    // what was seen last stays until the next look
  }
}

let shown = 0;

/** @param {Point[]} vehicles */
function drawNear(vehicles) {
  const how = { kind: /** @type {"car" | "courier"} */ (kind === "ride" ? "car" : "courier"), still: true, options: { opacity: 0.6 } };
  for (let n = 0; n < Math.max(shown, vehicles.length); n += 1) map.vehicle(`near ${n}`, vehicles[n], how);
  shown = vehicles.length;
}

/** In the words of the form, where the server names a field of it.
 * @param {string} text */
function refuse(text) {
  const words = (/** @type {string} */ _, /** @type {string} */ field) => byId(field).closest(".field").firstElementChild.textContent;
  say(byId("refused"), text.replace(/^recipient\.(name|phone)/, words));
  show(byId("refused"), text !== "");
}

const nameOf = (/** @type {Record<string, any>} */ one) => one.class ?? one.tier;

function drawChoices() {
  const box = byId("choices");
  const before = chosen(); // the same class, at its new price
  show(box, quotes.length > 0);
  const known = [...box.querySelectorAll("input")].map((input) => input.value);
  if (known.join() !== quotes.map(nameOf).join()) {
    box.replaceChildren(
      el("legend", { class: "unseen", text: "What shall come" }),
      ...quotes.map((one) => choice(one, one === (before ?? quotes.find((each) => nameOf(each) === USUAL) ?? quotes[0]))),
    );
  }
  for (const one of quotes) {
    const label = box.querySelector(`[data-name="${CSS.escape(nameOf(one))}"]`);
    if (!label) continue;
    say(label.querySelector(".price"), money(one.fare));
    const near = one.pickupEtaSeconds === null ? "nobody near" : `${minutes(one.pickupEtaSeconds)} away`;
    say(label.querySelector(".near"), kind === "ride" ? near : `${near} · ${kilometres(one.distanceM)}`);
  }
  const one = chosen();
  const button = byId("request");
  button.disabled = !one;
  say(button, one ? `${kind === "ride" ? "Request" : "Send"} ${NAMES[nameOf(one)] ?? nameOf(one)} · ${money(one.fare)}` : "Choose pickup and dropoff");
}

/**
 * @param {Record<string, any>} one
 * @param {boolean} checked
 */
function choice(one, checked) {
  const name = nameOf(one);
  const radio = el("input", { type: "radio", name: "choice", value: name, class: "unseen", checked });
  const words = el("span", { class: "words" }, el("strong", { text: NAMES[name] ?? name }), el("span", { class: "near soft small number" }));
  return el("label", { class: "choice", "data-name": name }, radio, icon(kind === "ride" ? "car" : "box"), words, el("span", { class: "price number" }));
}

function chosen() {
  const name = /** @type {any} */ (byId("choices").querySelector("input:checked"))?.value;
  return quotes.find((one) => nameOf(one) === name);
}

const form = byId("form");
byId("choices").addEventListener("change", drawChoices);
byId("size").addEventListener("change", quoteSoon);
byId("fragile").addEventListener("change", quoteSoon);

form.addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const one = chosen();
  if (!one || !trip.from || !trip.to) return;
  refuse("");
  const what = { pickup: trip.from, dropoff: trip.to, quoteId: one.quoteId };
  const parcel = () => ({
    tier: one.tier, size: byId("size").value, fragile: byId("fragile").checked,
    recipient: { name: byId("name").value.trim(), phone: byId("phone").value.trim() },
  });
  aryv.request(kind, kind === "ride" ? { ...what, class: one.class } : { ...what, ...parcel() }).catch((error) => refuse(error.message));
});

// -- watching

/** Jobs that were looked at after their end. */
const put_away = new Set();
const talk = chat(aryv, kind === "ride" ? "driver" : "courier");
const rating = stars(aryv);
byId("talk").replaceWith(talk.element);
byId("stars").replaceWith(rating.element);
byId("cancel").addEventListener("click", () => {
  const job = current();
  if (job) attempt(() => aryv.cancel(job.id));
});
byId("done").addEventListener("click", () => {
  const job = current();
  if (job) put_away.add(job.id);
  begin();
  draw();
});

/** A new trip starts where most do; where it shall go is asked. */
function begin() {
  const middle = map.middle();
  choose("to", null);
  choose("from", middle && { ...middle.point, address: middle.name });
}

/** The newest that is not put away. @returns {Job | undefined} */
function current() {
  const mine = [...aryv.jobs.values()].filter((job) => job.kind === kind && !put_away.has(job.id));
  return mine.findLast((job) => !job.over) ?? mine.findLast((job) => job.over);
}

function draw() {
  const job = current();
  show(form, !job);
  show(byId("live"), Boolean(job));
  if (!job) {
    drawJobOnMap(null);
    drawPlan();
    return;
  }
  const [line, line2] = forRequester(job);
  say(byId("line"), line);
  say(byId("line2"), line2);
  show(byId("stages"), !job.over || job.status === "completed");
  stages(byId("stages"), STAGES[kind], job.status === "completed" ? 4 : stage(job));
  byId("live").classList.toggle("searching", stage(job) === 0 && !job.over);
  drawDriver(job);
  drawCode(job);
  talk.update(job);
  rating.update(job);
  drawReceipt(job);
  show(byId("cancel"), !job.over && ["requesting", "scheduled", "searching", "offered", "assigned", "arrived", "arrived_pickup"].includes(job.state));
  say(byId("cancel"), kind === "ride" ? "Cancel the ride" : "Cancel the delivery");
  show(byId("done"), job.over);
  say(byId("done"), kind === "ride" ? "Next trip" : "Next parcel");
  drawJobOnMap(job);
}

/** @param {Job} job */
function drawDriver(job) {
  const box = byId("driver");
  show(box, job.driver !== null);
  if (!job.driver || box.dataset.of === job.driver.id) return;
  box.dataset.of = job.driver.id;
  const [vehicle, plate] = (job.driver.vehicle ?? "").split(/, (?=[^,]*$)/);
  box.replaceChildren(
    el("span", { class: "face", "aria-hidden": "true", text: initials(job.driver.name) }),
    el("span", { class: "words" }, el("strong", { text: job.driver.name }), el("span", { class: "soft small", text: vehicle })),
    plate ? el("span", { class: "plate", text: plate }) : "",
  );
}

/** @param {Job} job */
function drawCode(job) {
  const box = byId("code");
  show(box, job.code !== "" && !job.over);
  if (box.dataset.code === job.code) return;
  box.dataset.code = job.code;
  const words = kind === "ride" ? "Tell the driver this code when you get in" : "Only the recipient gets this code";
  const digits = [...job.code].map((digit) => el("span", { class: "digit", text: digit }));
  box.replaceChildren(
    el("span", { class: "small", text: words }),
    el("span", { class: "unseen", text: `: ${job.code}` }),
    el("span", { class: "digits number", "aria-hidden": "true" }, ...digits),
  );
}

/** @param {Job} job */
function drawReceipt(job) {
  /** @type {[string, string][]} */
  const rows = [
    ["From", job.pickup?.address || "A point on the map"],
    ["To", job.dropoff?.address || "A point on the map"],
    ...(job.parcel?.recipient ? [/** @type {[string, string]} */ (["For", job.parcel.recipient.name])] : []),
    ["Fare", job.status === "cancelled" ? "Nothing to pay" : money(job.fare)],
  ];
  const now = JSON.stringify(rows);
  const list = byId("receipt");
  if (list.dataset.now === now) return;
  list.dataset.now = now;
  list.replaceChildren(...rows.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { class: "number", text: value }))));
}

let seen = "";

/** @param {Job | null} job */
function drawJobOnMap(job) {
  if (job) map.way("plan", null, "plan");
  if (job) drawNear([]);
  const there = job && !job.over ? job : null;
  if (job) {
    map.pin("pickup", job.over ? null : job.pickup, "pickup");
    map.pin("dropoff", job.dropoff, "dropoff");
  }
  const car = /** @type {any} */ (there?.position);
  map.vehicle("driver", car, { kind: kind === "ride" ? "car" : "courier", heading: car?.heading });
  const target = there && stage(there) === 2 ? there.dropoff : there?.pickup;
  map.way("route", there?.pickup && there.dropoff && stage(there) < 2 ? map.streets.way(at(there.pickup), at(there.dropoff)) : null, "route");
  map.way("ahead", car && target ? map.streets.way(at(car), at(target)) : null, "ahead");
  if (!there) return;
  const scene = `${there.id} ${stage(there)} ${Boolean(car)}`;
  map.look([car, target, stage(there) === 0 ? there.dropoff : null], scene !== seen);
  seen = scene;
}

aryv.on("change", draw);
begin();
draw();
lookAround();
setInterval(lookAround, LOOK_EVERY_MS);
