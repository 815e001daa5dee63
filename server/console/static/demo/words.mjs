/**
 * What the states of a job are called, for whoever asked for it and for whoever carries it out.
 */

import { minutes } from "../ui/dom.mjs";

/** @typedef {import("../client/aryv-client.mjs").Job} Job */

/** How far along a job is, of its four stages. @type {Record<string, number>} */
const STAGE = {
  requesting: 0, scheduled: 0, searching: 0, offered: 0, assigned: 1, arrived: 1, arrived_pickup: 1,
  in_progress: 2, picked_up: 2, failed: 2, returning: 2, arrived_dropoff: 2, completed: 3, delivered: 3, returned: 3,
};

export const STAGES = {
  ride: ["Requested", "Driver", "On the way", "There"],
  package: ["Requested", "Pickup", "On the way", "Delivered"],
};

/** @param {Job} job */
export const stage = (job) => STAGE[job.state] ?? 0;

/** @param {Job} job */
const first = (job) => job.driver?.name.split(" ")[0] ?? "";

/**
 * One line and a second one, for the requester.
 * @param {Job} job
 * @returns {[string, string]}
 */
export function forRequester(job) {
  const eta = job.etaSeconds === null ? "" : job.etaSeconds < 45 ? "Less than a minute" : `About ${minutes(job.etaSeconds)}`;
  const to = job.dropoff?.address || "the destination";
  const driver = job.kind === "ride" ? "driver" : "courier";
  const gone = job.left ? `${job.left.name.split(" ")[0]} ${job.left.himself ? `gave the ${job.kind === "ride" ? "ride" : "parcel"} back` : "cannot come any more"}.` : "";
  /** @type {Record<string, [string, string]>} */
  const lines = {
    requesting: ["Sending your request", "It goes out as soon as there is a connection."],
    scheduled: ["Planned", "The search begins shortly before."],
    searching: job.left ? [`Looking for another ${driver}`, gone] : [`Looking for a ${driver}`, "The nearest free one is asked first."],
    offered: job.left ? [`Asking another ${driver}`, gone] : [`Asking a ${driver} nearby`, "They have a few seconds to answer."],
    assigned: [`${first(job)} is on the way to ${job.kind === "ride" ? "you" : "the pickup"}`, eta],
    arrived: [`${first(job)} is here`, "Look out for the car."],
    arrived_pickup: [`${first(job)} is at the pickup`, "Hand over the parcel."],
    in_progress: [`On the way to ${to}`, eta],
    picked_up: ["Your parcel is on the way", eta],
    arrived_dropoff: [`${first(job)} is at the door`, "The recipient tells the code."],
    failed: ["Nobody took the parcel", job.reason || "The courier tries again, or brings it back."],
    returning: ["Your parcel is coming back", job.reason],
    completed: ["You have arrived", `Thank you for riding with ${first(job) || "us"}.`],
    delivered: ["Delivered", "The recipient has it."],
    returned: ["Returned to you", job.reason],
    cancelled: ["Cancelled", job.reason],
    no_driver: ["No driver is free", "Nobody could take the ride. Try again in a moment."],
    no_courier: ["No courier is free", "Nobody could take the parcel. Try again in a moment."],
    no_show: ["The driver has left", "Nobody came to the pickup in time."],
  };
  if (job.needsPerson) return ["Support is looking into this", "Something about this trip does not agree. You are being helped."];
  return lines[job.state] ?? [job.state, ""];
}

/**
 * The same for the one who carries it.
 * @param {Job} job
 * @returns {[string, string]}
 */
export function forCarrier(job) {
  const [pickup, dropoff] = [job.pickup?.address || "the pickup", job.dropoff?.address || "the dropoff"];
  const who = job.requester?.name || "the passenger";
  /** @type {Record<string, [string, string]>} */
  const lines = {
    assigned: [`Drive to ${pickup}`, job.kind === "ride" ? `${who} is waiting.` : `Collect a parcel from ${who}.`],
    arrived: [`Wait for ${who}`, "Start when they are on board."],
    arrived_pickup: [`Take the parcel from ${who}`, `It goes to ${job.parcel?.recipient?.name ?? "the recipient"}.`],
    in_progress: [`Drive to ${dropoff}`, `${who} is on board.`],
    picked_up: [`Drive to ${dropoff}`, `For ${job.parcel?.recipient?.name ?? "the recipient"}.`],
    arrived_dropoff: ["Ask for the delivery code", `${job.parcel?.recipient?.name ?? "The recipient"} knows it.`],
    failed: ["It could not be delivered", job.reason],
    returning: [`Bring it back to ${pickup}`, job.reason],
    completed: ["Trip completed", ""],
    delivered: ["Delivered", ""],
    returned: ["Returned", ""],
    cancelled: ["This was cancelled", job.reason],
    no_show: ["Nobody came", ""],
  };
  return lines[job.state] ?? [job.state, ""];
}

/**
 * What a carrier does next: the state it leads to, its words, where he has to be, and the code it may need.
 * @type {Record<"ride" | "package", Record<string, {to: string, label: string, place?: "pickup" | "dropoff", code?: "otp" | "proof"}>>}
 */
export const NEXT = {
  ride: {
    assigned: { to: "arrived", label: "I am at the pickup", place: "pickup" },
    arrived: { to: "in_progress", label: "Start the trip", code: "otp" },
    in_progress: { to: "completed", label: "Complete the trip", place: "dropoff" },
  },
  package: {
    assigned: { to: "arrived_pickup", label: "I am at the pickup", place: "pickup" },
    arrived_pickup: { to: "picked_up", label: "I have the parcel" },
    picked_up: { to: "arrived_dropoff", label: "I am at the door", place: "dropoff" },
    arrived_dropoff: { to: "delivered", label: "Hand over", code: "proof" },
    failed: { to: "arrived_dropoff", label: "Try again", place: "dropoff" },
    returning: { to: "returned", label: "Given back", place: "pickup", code: "proof" },
  },
};

/** Whom a carrier has to ask for a code before the next step; "" where none is needed. @param {Job} job */
export function hasCode(job) {
  const code = NEXT[job.kind][job.state]?.code;
  if (code === "otp") return job.needsCode ? "passenger" : "";
  return code === "proof" ? (job.state === "returning" ? "sender" : "recipient") : "";
}
