/** All nodes, Redis, PostgreSQL and the drain, every few seconds, as any one node knows of all. */

import { el, say } from "../../ui/dom.mjs";
import { api } from "../api.mjs";
import { chart } from "../chart.mjs";
import { bytes, count, milliseconds, pill, plain, span } from "../words.mjs";

export const title = "Health";
const EVERY_MS = 3_000;
const STREAMS = ["facts", "fixes", "past"];
const LAG_WAIT_MS = 5_000, LAG_BAD_MS = 60_000;
const REDIS_FULL = 0.8;
const KEPT = 60; // readings: three minutes

/** A number under its name, made once: what is told anew is its text, so that whoever stands on it stays there.
 * @param {string} name
 * @param {string} [href]   where it leads */
function figure(name, href) {
  const value = href ? el("a", { href }) : el("span", {});
  const hint = el("dd", { class: "soft small" });
  const element = el("div", { class: "figure" }, el("dt", { text: name }), el("dd", { class: "number" }, value), hint);
  return { element, say: (/** @type {string} */ text, about = "") => (say(value, text), say(hint, about)) };
}

/** A filled line, for a share of something. @param {string} name
 * @param {number} share */
const meter = (name, share) => el("meter", { min: "0", max: "1", low: "0.6", high: String(REDIS_FULL), optimum: "0", value: String(Math.min(1, share)), "aria-label": name });

/** @param {HTMLElement} root */
export async function open(root) {
  const state = el("p", { class: "state", role: "status" });
  const figures = {
    connections: figure("Connections"), fixes: figure("Fixes a second"), commands: figure("Command p95"),
    searching: figure("Searching jobs"), drain: figure("Drain behind by"), letters: figure("Dead letters", "/console/letters"),
  };
  const top = el("dl", { class: "figures" }, ...Object.values(figures).map((each) => each.element));
  const nodes = el("tbody", {});
  const parts = el("div", { class: "parts" });
  const charts = el("div", { class: "charts" });
  /** @type {{at: Date, fixes: number, events: number, p95: number | null, lag: number}[]} */
  const past = [];
  root.append(
    el("header", { class: "head" }, el("div", {}, el("h1", { text: title }), el("p", { class: "soft", text: "Told by one node for all of them; rates and latencies are of the last 10 s." })), state),
    top,
    el("div", { class: "card" }, el("table", {}, el("caption", { class: "unseen", text: "Nodes" }),
      el("thead", {}, el("tr", {}, ...["Node", "State", "Version", "Connections", "Events/s", "Fixes/s", "Frames/s", "Command p50 · p95", "Tick p95", "Core", "Memory", "Up"].map((text, at) => el("th", { scope: "col", class: at > 2 ? "right" : "", text })))), nodes)),
    charts, parts,
  );

  /** @param {any} health */
  function draw(health) {
    const said = (health.nodes ?? []).filter((/** @type {any} */ node) => node.status);
    const sum = (/** @type {(status: any) => number} */ of) => said.reduce((/** @type {number} */ total, /** @type {any} */ node) => total + of(node.status), 0);
    const worst = (/** @type {string} */ name) => said.reduce((/** @type {number | null} */ most, /** @type {any} */ node) => Math.max(most ?? 0, node.status.latencies[name] ?? 0) || most, null);
    const streams = streamsOf(health.drain);
    const lag = Math.max(0, ...streams.map(([, stream]) => stream.lag_ms));
    const faults = [
      ...health.silent.map((/** @type {string} */ part) => `${plain(part)} does not answer`),
      ...(health.nodes ?? []).filter((/** @type {any} */ node) => !node.status).map((/** @type {any} */ node) => `${node.node} is silent`),
      ...said.filter((/** @type {any} */ node) => !node.status.logIsRead).map((/** @type {any} */ node) => `${node.node} does not hear the log`),
      ...(lag > LAG_BAD_MS ? ["The drain is behind"] : []),
      ...streams.filter(([, stream]) => stream.silent_s > 10).map(([name]) => `No drain of ${name}`),
    ];
    const mood = faults.length ? pill("refused", faults.join(" · ")) : pill("active", "All is well");
    if (state.textContent !== mood.textContent) state.replaceChildren(mood); // said once by a screen reader
    figures.connections.say(count(sum((status) => status.connections)), `${count(sum((status) => status.users))} people`);
    figures.fixes.say(count(Math.round(sum((status) => status.rates.fixes))), `events: ${count(Math.round(sum((status) => status.rates.events)))}`);
    figures.commands.say(milliseconds(worst("commandsP95Ms")), "the slowest node's");
    figures.searching.say(health.redis ? count(health.redis.waitingJobs) : "–", health.redis ? `${count(health.redis.indexedDrivers)} free drivers` : "");
    figures.drain.say(health.drain ? milliseconds(lag) : "–", "before history knows");
    figures.letters.say(health.postgresql ? count(health.postgresql.letters) : "–", "rows refused");
    past.push({ at: new Date(), fixes: sum((status) => status.rates.fixes), events: sum((status) => status.rates.events), p95: worst("commandsP95Ms"), lag });
    if (past.length > KEPT) past.shift();
    charts.replaceChildren(...trends(past));
    nodes.replaceChildren(...(health.nodes ?? []).map((/** @type {any} */ node) => line(node, health.nowMs)));
    parts.replaceChildren(redis(health.redis), postgresql(health.postgresql), drain(health.drain));
  }

  let over = false;
  let timer = 0;
  async function load() {
    try {
      const said = await api.get("/api/admin/health");
      if (!over) draw(said.data);
    } catch (error) {
      if (!over) state.replaceChildren(pill("refused", error.message));
    }
    if (!over) timer = setTimeout(load, EVERY_MS);
  }
  await load();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}

/** How it went since the page was opened.
 * @param {{at: Date, fixes: number, events: number, p95: number | null, lag: number}[]} past */
function trends(past) {
  const last = past[past.length - 1];
  const before = KEPT - past.length; // the newest stands at the right, whatever was before the page was opened
  const hours = Array.from({ length: KEPT }, (_, slot) => past[slot - before]?.at ?? new Date(past[0].at.getTime() - (before - slot) * EVERY_MS));
  const values = (/** @type {(reading: any) => number | null} */ of) => hours.map((_, slot) => (slot < before ? null : of(past[slot - before])));
  const label = (/** @type {Date} */ at) => at.toLocaleTimeString("en-GB");
  const rate = (/** @type {number} */ n) => (n < 10 ? n.toFixed(1) : count(Math.round(n)));
  return [
    chart({ title: "Heard a second", hours, label, format: rate, line: true, total: `${rate(last.events)} events, ${rate(last.fixes)} fixes`, series: [
      { name: "Events", class: "three", values: values((reading) => reading.events) }, { name: "Fixes", class: "one", values: values((reading) => reading.fixes) }] }),
    chart({ title: "How long it takes", hours, label, format: milliseconds, line: true, total: `commands ${milliseconds(last.p95)}, drain ${milliseconds(last.lag)}`, series: [
      { name: "Command p95", class: "one", values: values((reading) => reading.p95) }, { name: "Drain", class: "three", values: values((reading) => reading.lag) }] }),
  ];
}

/** @param {any} node
 * @param {number} nowMs */
function line({ node, status }, nowMs) {
  const name = el("th", { scope: "row" }, el("code", { class: "id", title: node, text: node }));
  if (!status) return el("tr", {}, name, el("td", { "data-title": "State", colspan: "11" }, pill("refused", "Alive, but silent")));
  const { rates, latencies } = status;
  const condition = status.draining ? pill("stale", "Going away") : status.logIsRead ? pill("active", "Alive") : pill("refused", "Deaf");
  const cells = [
    ["Connections", count(status.connections)], ["Events/s", rates.events.toFixed(1)], ["Fixes/s", rates.fixes.toFixed(1)], ["Frames/s", rates.frames.toFixed(1)],
    ["Command p50 · p95", latencies.commandsP95Ms === null ? "–" : `${milliseconds(latencies.commandsP50Ms)} · ${milliseconds(latencies.commandsP95Ms)}`], ["Tick p95", milliseconds(latencies.ticksP95Ms)],
    ["Core", `${Math.round(status.cpu * 100)} %`], ["Memory", bytes(status.memoryBytes)], ["Up", span((nowMs - status.startedAtMs) / 1000)],
  ];
  return el("tr", {}, name, el("td", { "data-title": "State" }, condition), el("td", { "data-title": "Version", class: "number", text: status.version }),
    ...cells.map(([title, text]) => el("td", { class: "number right", "data-title": title, text })));
}

/** @param {string} name
 * @param {any} part
 * @param {...any} content */
const card = (name, part, ...content) =>
  el("section", { class: "card part", "aria-label": name }, el("header", {}, el("h2", { text: name }), part ? pill("active", milliseconds(part.answeredInMs)) : pill("refused", "Silent")), part && el("dl", {}, ...content.flat()));

/** @param {string} name
 * @param {any} value */
const fact = (name, value) => [el("dt", { text: name }), el("dd", { class: "number" }, value)];

/** @param {any} redis */
function redis(redis) {
  if (!redis) return card("Redis", null);
  const share = redis.maxBytes ? redis.usedBytes / redis.maxBytes : 0;
  const memory = redis.maxBytes ? `${bytes(redis.usedBytes)} of ${bytes(redis.maxBytes)}` : `${bytes(redis.usedBytes)}, without a limit`;
  return card("Redis", redis,
    fact("Memory", el("span", {}, memory, redis.maxBytes ? meter("Memory of Redis", share) : "")), fact("Operations a second", count(redis.operationsPerS)), fact("Clients", count(redis.clients)),
    fact("Log in memory", `${count(redis.streams.facts)} facts, ${count(redis.streams.fixes)} ticks of fixes`), fact("Timers", count(redis.timers)), fact("Kept on disk", redis.appendOnly ? "Yes" : "No"),
    fact("Up", span(redis.uptimeS)), fact("Version", redis.version));
}

/** @param {any} postgresql */
function postgresql(postgresql) {
  if (!postgresql) return card("PostgreSQL", null);
  const { connections, connectionsMax } = postgresql;
  return card("PostgreSQL", postgresql,
    fact("Connections", el("span", {}, `${connections} of ${connectionsMax}`, meter("Connections of PostgreSQL", connections / connectionsMax))), fact("Size", bytes(postgresql.bytes)),
    fact("Dead letters", postgresql.letters > 10_000 ? "more than 10,000" : count(postgresql.letters)));
}

/** Those that were ever drained. @param {any} drain
 * @returns {[string, any][]} */
const streamsOf = (drain) => STREAMS.filter((name) => drain?.[name]).map((name) => [name, drain[name]]);

/** @param {any} drain */
function drain(drain) {
  if (!drain) return card("Drain", null);
  return card("Drain", drain, ...streamsOf(drain).flatMap(([name, stream]) => {
    const mood = stream.silent_s > 10 || stream.lag_ms > LAG_BAD_MS ? "refused" : stream.lag_ms > LAG_WAIT_MS ? "stale" : "active";
    const behind = stream.silent_s > 10 ? `silent for ${span(stream.silent_s)}` : `${milliseconds(stream.lag_ms)} behind`;
    return fact(plain(name), el("span", { class: "pills" }, pill(mood, behind), ` ${count(stream.rows)} rows${stream.refused ? `, ${count(stream.refused)} refused` : ""}${stream.thinned ? `, ${count(stream.thinned)} thinned` : ""}`));
  }));
}
