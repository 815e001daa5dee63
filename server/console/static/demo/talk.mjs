/**
 * The chat and the stars of a job, as both sides have them.
 */

import { clock, el, icon, say, show } from "../ui/dom.mjs";
import { attempt, toast } from "./enter.mjs";

/** @typedef {import("../client/aryv-client.mjs").Aryv} Aryv */
/** @typedef {import("../client/aryv-client.mjs").Job} Job */

/**
 * @param {Aryv} aryv
 * @param {string} other   whom one talks to, as a screen reader says it
 */
export function chat(aryv, other) {
  /** @type {Job | null} */
  let job = null;
  let shown = "";
  const list = el("ol");
  const lines = el("div", { class: "lines", role: "log", "aria-label": `Chat with the ${other}`, tabindex: "0" }, list);
  const input = el("input", { type: "text", maxlength: "4000", placeholder: `Message the ${other}`, "aria-label": `Message to the ${other}`, autocomplete: "off" });
  const send = el("button", { type: "submit", class: "round", "aria-label": "Send" }, icon("send"));
  const typing = el("p", { class: "typing soft small", role: "status" });
  const form = el("form", { class: "say" }, input, send);
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!job || !text) return;
    input.value = "";
    aryv.say(job.id, text);
  });
  input.addEventListener("input", () => job && aryv.typing(job.id));
  const element = el("section", { class: "chat", "aria-label": "Chat" }, lines, typing, form);

  return {
    element,
    /** @param {Job} next */
    update(next) {
      job = next;
      show(form, !job.over);
      show(element, job.driver !== null || (job.over && job.messages.length > 0)); // with nobody there is nothing to say
      say(typing, job.typing ? `${job.typing.split(" ")[0]} is typing …` : "");
      const seen = [...job.readUpTo].filter(([reader]) => reader !== aryv.userId).map(([, id]) => id);
      const now = JSON.stringify([job.id, job.messages.map((line) => [line.id, line.state]), seen]);
      if (now === shown) return;
      shown = now;
      list.replaceChildren(...job.messages.map((line) => bubble(aryv, next, line, seen)));
      show(lines, next.messages.length > 0);
      lines.scrollTop = lines.scrollHeight;
      if (document.visibilityState === "visible") aryv.read(job.id);
    },
  };
}

/**
 * @param {Aryv} aryv
 * @param {Job} job
 * @param {import("../client/jobs.mjs").Message} line
 * @param {string[]} seen
 */
function bubble(aryv, job, line, seen) {
  const own = line.senderId === aryv.userId;
  const readTo = Math.max(...seen.map((id) => job.messages.findIndex((each) => each.id === id)), -1);
  const isRead = job.messages.indexOf(line) <= readTo;
  const state = line.state === "waiting" ? "sending" : line.state === "failed" ? "not sent" : own && isRead ? "seen" : "";
  const note = el("span", { class: "note number", text: [clock(line.at), state].filter(Boolean).join(" · ") });
  const again = line.state === "failed" && el("button", { class: "button bare", type: "button", text: "Send again", onclick: () => aryv.say(job.id, line.text, line.id) });
  const who = el("span", { class: "unseen", text: own ? "You: " : `${line.senderName}: ` });
  return el("li", { class: `line ${own ? "own" : "other"} ${line.state}` }, el("p", {}, who, el("span", { text: line.text })), note, again);
}

/**
 * One to five stars and a word, once.
 * @param {Aryv} aryv
 */
export function stars(aryv) {
  /** @type {Job | null} */
  let job = null;
  const rated = new Set();
  const about = el("legend", {});
  const choices = [1, 2, 3, 4, 5].map((count) => {
    const radio = el("input", { type: "radio", name: "stars", value: String(count), class: "unseen" });
    return el("label", { class: "star" }, radio, icon("star"), el("span", { class: "unseen", text: `${count} of 5` }));
  });
  const comment = el("input", { type: "text", maxlength: "2000", autocomplete: "off" });
  const send = el("button", { class: "button main wide", type: "submit", text: "Send rating" });
  const thanks = el("p", { class: "thanks", role: "status" });
  const fields = el("fieldset", {}, about, el("div", { class: "stars" }, ...choices));
  const form = el("form", { class: "rate" }, fields, el("label", { class: "field" }, el("span", { text: "A word, if you like" }), comment), send);
  form.addEventListener("change", () => {
    const chosen = Number(new FormData(form).get("stars"));
    choices.forEach((label, at) => label.classList.toggle("lit", at < chosen));
  });
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const chosen = Number(new FormData(form).get("stars"));
    if (!job) return;
    if (!chosen) return toast("Choose one to five stars.");
    const { id } = job;
    send.disabled = true;
    attempt(async () => {
      await aryv.rate(id, chosen, comment.value.trim());
      rated.add(id);
      if (job?.id === id) this_.update(job);
    }).finally(() => (send.disabled = false));
  });
  const element = el("section", { class: "rating" }, form, thanks);
  const this_ = {
    element,
    /** @param {Job} next */
    update(next) {
      if (job?.id !== next.id) {
        form.reset();
        choices.forEach((label) => label.classList.remove("lit"));
      }
      job = next;
      const other = job.requester?.id === aryv.userId ? job.driver?.name : job.requester?.name;
      say(about, `How was ${other?.split(" ")[0] ?? "it"}?`);
      show(element, job.status === "completed");
      show(form, !rated.has(job.id));
      say(thanks, rated.has(job.id) ? "Thank you. Your rating is kept." : "");
    },
  };
  return this_;
}
