/** The moment that is shown: a slider over all of it, played at several speeds, with what happened below. */

import { el, icon, say } from "../../ui/dom.mjs";
import { span } from "../words.mjs";

const STEPS = 200; // of the slider, so many presses of a key from end to end
const SPEEDS = [1, 10, 60];
const CALM_MS = 1_000; // whoever wants less motion sees one moment a second
const APART = 0.13; // labels nearer to one another than this share would touch

/** @param {number} atMs */
export const clock = (atMs) => new Date(atMs).toLocaleTimeString("en-GB");

/**
 * @param {import("./film.mjs").Film} film
 * @param {(atMs: number) => string} show   shows that moment and says it in few words
 */
export function player(film, show) {
  const { startMs, endMs } = film;
  const step = Math.max(1, Math.ceil((endMs - startMs) / STEPS));
  const slider = el("input", { id: "moment", type: "range", min: "0", max: String(step * STEPS), step: String(step), value: "0", "aria-label": "Moment of the trip" });
  const play = el("button", { class: "button main round", type: "button", "aria-label": "Play" }, icon("play"));
  const time = el("p", { class: "time number" });
  const since = el("p", { class: "soft small number" });
  const speeds = SPEEDS.map((speed) => el("button", { type: "button", class: "speed", "aria-pressed": String(speed === 10), text: `${speed}×`, onclick: () => pace(speed) }));
  const ticks = el("div", { class: "notches", "aria-hidden": "true" });
  const root = el("section", { class: "card player", "aria-label": "Player" },
    el("div", { class: "controls" }, play, el("div", { class: "clock" }, time, since), el("div", { class: "speeds", role: "group", "aria-label": "Speed" }, ...speeds)),
    el("div", { class: "scale" }, slider, ticks));
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let atMs = startMs, speed = 10, drawnMs = 0, running = 0;

  let labelled = -1;
  for (const mark of film.marks) {
    const share = (mark.atMs - startMs) / (step * STEPS);
    const tick = el("span", { class: `notch ${mark.kind}`, title: `${clock(mark.atMs)} ${mark.title}`, onclick: () => go(mark.atMs) });
    tick.style.left = `${100 * share}%`;
    if (mark.short && mark.kind !== "offer" && (labelled < 0 || share - labelled > APART)) {
      labelled = share;
      tick.append(el("span", { class: `label ${share > 0.88 ? "last" : share < 0.08 ? "first" : ""}`, text: mark.short }));
    }
    ticks.append(tick);
  }

  /** @param {number} wantedMs */
  function go(wantedMs) {
    atMs = Math.min(endMs, Math.max(startMs, wantedMs));
    slider.value = String(atMs - startMs);
    slider.style.setProperty("--done", `${(100 * (atMs - startMs)) / (step * STEPS)}%`);
    const said = show(atMs);
    slider.setAttribute("aria-valuetext", `${clock(atMs)}, ${said}`);
    say(time, clock(atMs));
    say(since, `${span((atMs - startMs) / 1000)} of ${span((endMs - startMs) / 1000)}`);
  }

  /** @param {boolean} on */
  function run(on) {
    cancelAnimationFrame(running);
    running = 0;
    play.replaceChildren(icon(on ? "pause" : "play"));
    play.setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return;
    if (atMs >= endMs) go(startMs);
    drawnMs = performance.now();
    running = requestAnimationFrame(frame);
  }

  /** @param {number} nowMs */
  function frame(nowMs) {
    running = requestAnimationFrame(frame);
    const passed = nowMs - drawnMs;
    if (passed < (calm.matches ? CALM_MS : 0)) return;
    drawnMs = nowMs;
    go(atMs + Math.max(0, passed) * speed);
    if (atMs >= endMs) run(false);
  }

  /** @param {number} wanted */
  function pace(wanted) {
    speed = wanted;
    speeds.forEach((button, at) => button.setAttribute("aria-pressed", String(SPEEDS[at] === wanted)));
  }

  play.addEventListener("click", () => run(running === 0));
  slider.addEventListener("input", () => go(startMs + Number(slider.value)));
  return { root, go, again: () => go(atMs), close: () => cancelAnimationFrame(running) };
}
